// StatusReport tests
