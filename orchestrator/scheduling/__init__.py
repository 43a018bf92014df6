"""When calls are dialled: staging what is due, claiming what there is room for."""
