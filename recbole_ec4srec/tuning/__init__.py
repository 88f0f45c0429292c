"""The search for hyper-parameters: RecBole's ``run_hyper.py`` for all models; a search that was killed resumes."""
