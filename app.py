"""Vecscope: navigation, nothing else."""

from lib.ui.page import run_app

run_app()
