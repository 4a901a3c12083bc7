// BlockingIO tests
