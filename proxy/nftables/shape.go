package nftables

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A shape is a chain, and the map it reads, that Services share: one for each count of
// endpoints, and one for each affinity timeout.

// Shape is the input of nft that makes a shape, without the rules that ruleOf has.
func (s *Settings) Shape(chain string) string {
	text := s.shape(chain)
	if s.ruleOf(chain) == nil {
		return text
	}
	var declared strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "add map ") || strings.HasPrefix(line, "add chain ") {
			declared.WriteString(line)
		}
	}
	return declared.String()
}

// shape is all of a shape as text.
func (s *Settings) shape(chain string) string {
	const remember = `
chain $CHAIN
rule $CHAIN meta l4proto tcp update @affinity { ct original $IP saddr . ct original $IP daddr . meta l4proto . ct original proto-dst timeout $N : $IP daddr . th dport }
rule $CHAIN meta l4proto udp update @affinity { ct original $IP saddr . ct original $IP daddr . meta l4proto . ct original proto-dst timeout $N : $IP daddr . th dport }
rule $CHAIN meta l4proto sctp update @affinity { ct original $IP saddr . ct original $IP daddr . meta l4proto . ct original proto-dst timeout $N : $IP daddr . th dport }
`
	const balance = `
add map $IP kube-proxy $MAP { typeof $IP daddr . meta l4proto . th dport . numgen random mod $N : $IP daddr . th dport; }
chain $CHAIN
rule $CHAIN dnat $IP to $IP daddr . meta l4proto . th dport . numgen random mod $N map @$MAP
`
	if seconds, ok := strings.CutPrefix(chain, prefixRemember); ok {
		return s.expand(remember, map[string]string{"$CHAIN": chain, "$N": seconds})
	}
	return s.expand(balance, map[string]string{"$CHAIN": chain, "$MAP": mapOf(chain), "$N": fmt.Sprint(countOf(chain))})
}

// ruleOf is the rule of a shape in the kernel's terms, where nft cannot be given its text:
// version 1.0.6 stumbles over a rule that reads a map with a generated number in its key,
// if the map is in the kernel already, and over the IPv6 addresses of conntrack.
func (s *Settings) ruleOf(chain string) []expr.Any {
	seconds, isRemember := strings.CutPrefix(chain, prefixRemember)
	switch {
	case !isRemember:
		return s.balance(chain)
	case s.ipv6():
		timeout, _ := time.ParseDuration(seconds)
		return remember6(timeout)
	}
	return nil
}

// The registers are used as words of four bytes.
const (
	key       = unix.NFT_REG32_00
	words4    = 1 // of an address
	words6    = 4
	dportAt   = 2 // in the header of the transport protocols
	daddrAt4  = 16
	daddrAt6  = 24
	portBytes = 2
)

// balance is the rule of a chain one-of-…: a random number chooses from the map.
func (s *Settings) balance(chain string) []expr.Any {
	words, at, family := uint32(words4), uint32(daddrAt4), uint32(unix.NFPROTO_IPV4)
	if s.ipv6() {
		words, at, family = words6, daddrAt6, unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: 4 * words, DestRegister: key},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: key + words},
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: dportAt, Len: portBytes, DestRegister: key + words + 1},
		&expr.Numgen{Register: key + words + 2, Modulus: countOf(chain), Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: key, DestRegister: key, IsDestRegSet: true, SetName: mapOf(chain)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: key, RegProtoMin: key + words},
	}
}

// remember6 is the rule of a chain remember-… for IPv6. It runs after NAT, where the
// packet has the endpoint's address, and conntrack the one that the client had asked for.
func remember6(timeout time.Duration) []expr.Any {
	const (
		original = 0 // direction
		data     = key + 2*words6 + 2
	)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySRC, Direction: original, Register: key},
		&expr.Ct{Key: expr.CtKeyDST, Direction: original, Register: key + words6},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: key + 2*words6},
		&expr.Ct{Key: expr.CtKeyPROTODST, Direction: original, Register: key + 2*words6 + 1},
		&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: daddrAt6, Len: 4 * words6, DestRegister: data},
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: dportAt, Len: portBytes, DestRegister: data + words6},
		&expr.Dynset{SetName: mapAffinity, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: timeout, SrcRegKey: key, SrcRegData: data},
	}
}

// mapOf is the map that a balancing chain chooses from.
func mapOf(chain string) string {
	if n, ok := strings.CutPrefix(chain, prefixOneOfLocal); ok {
		return prefixLocalEndpoints + n
	}
	return prefixEndpoints + strings.TrimPrefix(chain, prefixOneOf)
}

// countOf is how many endpoints it chooses from.
func countOf(chain string) uint32 {
	n, _ := strconv.ParseUint(chain[strings.LastIndexByte(chain, '-')+1:], 10, 32)
	return uint32(n)
}

// removal is the input of nft that removes what Shape made.
func (s *Settings) removal(chain string) string {
	out := "flush chain $IP kube-proxy " + chain + "\ndelete chain $IP kube-proxy " + chain + "\n"
	if !strings.HasPrefix(chain, prefixRemember) {
		out += "delete map $IP kube-proxy " + mapOf(chain) + "\n"
	}
	return s.expand(out, nil)
}
