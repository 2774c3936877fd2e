module elsewhere.example.org

go 1.26.0

require orrery.example.org v0.0.0

replace orrery.example.org => ../../..
