"""What a user can ask for, one small class an operation; the packages below hold what several of them stand on."""
