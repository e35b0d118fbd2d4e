"""What clients send and get, under Prefect 2's names: the models of the REST API, with states as flows have them."""
