package nftables

// moved are the addresses whose kind of treatment changed, so that what clients were
// promised there does not hold any more.
func moved(before, after Elements) map[string]bool {
	all := map[string]bool{}
	for slot, value := range before {
		if slot.Set == mapServiceIPs && after[slot] != value {
			all[slot.Key] = true
		}
	}
	return all
}

// stale are the clients whose endpoint does not serve their destination any more (P21).
// The key of a client is its address followed by the key of the destination.
func (m *model) stale(clients Elements, moved map[string]bool) []op {
	serving := map[string]map[string]bool{}
	var ops []op
	for slot, endpoint := range clients {
		key := slot.Key[addressLen(slot.Key):]
		if serving[key] == nil {
			serving[key] = m.serving(key)
		}
		if moved[key] || !serving[key][endpoint] {
			ops = append(ops, op{slot: slot, del: true})
		}
	}
	return ops
}

// addressLen is the length of an address in a key of two addresses, protocol and port.
func addressLen(key string) int { return (len(key) - 8) / 2 }

// serving are the endpoints that a client of an address may stay with.
func (m *model) serving(key string) map[string]bool {
	all := map[string]bool{}
	if c := m.claims[key]; len(c) > 0 && c[0].port.AffinitySeconds > 0 {
		for slot, value := range c[0].elements(key) {
			if isEndpoints(slot.Set) {
				all[value] = true
			}
		}
	}
	return all
}
