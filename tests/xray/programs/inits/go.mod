module inits

go 1.15
