"""Networks that are trained whole, backbone and head together: plugins of `affectkit finetune`."""
