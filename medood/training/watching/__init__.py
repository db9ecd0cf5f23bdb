"""What a person sees of a training while it runs, and finds of it afterwards."""
