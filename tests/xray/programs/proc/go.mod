module proc

go 1.21
