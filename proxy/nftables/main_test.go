package nftables

import (
	"testing"

	"orrery.example.org/proxy/flowtest"
)

func TestMain(m *testing.M) { flowtest.Main(m) }
