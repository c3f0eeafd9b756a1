"""Where sessions are kept between requests; ``base`` has the contract."""
