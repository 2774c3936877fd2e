package flowtest

import (
	"net/netip"
	"reflect"

	"orrery.example.org/proxy/plan"
)

// The world is dual stack. An IPv6 address is the IPv4 one behind this prefix, so that
// every row and every plan has a twin of the other family.
var sixPrefix = netip.MustParseAddr("fd00::").As16()

// Six is the IPv6 twin of an address.
func Six(a netip.Addr) netip.Addr {
	if !a.Is4() {
		return a
	}
	six, four := sixPrefix, a.As4()
	copy(six[12:], four[:])
	return netip.AddrFrom16(six)
}

// SixPrefix is the twin of a range.
func SixPrefix(p netip.Prefix) netip.Prefix {
	if !p.IsValid() || p.Addr().Is6() {
		return p
	}
	return netip.PrefixFrom(Six(p.Addr()), p.Bits()+96)
}

// SixPlans turns a snapshot into its twin. The plans are changed in place.
func SixPlans(s plan.Snapshot) plan.Snapshot {
	toSix(reflect.ValueOf(&s))
	return s
}

// toSix changes all addresses that a value leads to.
func toSix(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			toSix(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			toSix(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			toSix(v.MapIndex(key))
		}
	case reflect.Struct:
		switch a := v.Addr().Interface().(type) {
		case *netip.Addr:
			*a = Six(*a)
		case *netip.AddrPort:
			*a = netip.AddrPortFrom(Six(a.Addr()), a.Port())
		case *netip.Prefix:
			*a = SixPrefix(*a)
		default:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					toSix(v.Field(i))
				}
			}
		}
	}
}

// six is the twin of a flow.
func (f Flow) six() Flow {
	to := netip.MustParseAddrPort(f.To)
	f.To = netip.AddrPortFrom(Six(to.Addr()), to.Port()).String()
	return f
}

func sixes(flows []Flow) []Flow {
	var all []Flow
	for _, f := range flows {
		all = append(all, f.six())
	}
	return all
}
