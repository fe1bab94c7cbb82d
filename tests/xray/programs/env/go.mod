module env

go 1.21
