"""Vecscope: navigation, nothing else."""

from lib.ui.shared.page import run_app

run_app()
