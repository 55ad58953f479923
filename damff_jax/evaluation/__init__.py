"""What a model's curves are worth: predicting songs window by window, and scoring them."""
