"""Training networks whole: reading cached crops and sound, augmenting, the loop that steps, resumes and selects."""
