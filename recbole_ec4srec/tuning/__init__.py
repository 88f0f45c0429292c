"""The search for hyper-parameters: RecBole's ``run_hyper.py`` for all models, made to survive."""
