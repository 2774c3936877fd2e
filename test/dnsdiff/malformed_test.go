package dnsdiff

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// malformed are packets that no resolver sends, in hexadecimal. Where an identifier is,
// it is 1234. Where we differ, there is a reason.
var malformed = []struct{ about, packet, reason string }{
	{"empty", "", ""},
	{"one byte", "12", ""},
	{"half a header", "1234010000", ""},
	{"a reply", "123481800001000000000000 0161 0000010001", ""},
	{"no question", "123401000000000000000000", ""},
	{"a question that is not there", "123401000001000000000000", "CoreDNS has not looked, and fails; we say what is wrong"},
	{"two questions", "123401000002000000000000 0161000001 0001 0162000001 0001", ""},
	{"half a name", "123401000001000000000000 0561", ""},
	{"a name without type", "123401000001000000000000 016100", ""},
	{"a name that points at itself", "123401000001000000000000 c00c 00010001", ""},
	{"a name that points past the end", "123401000001000000000000 c0ff 00010001", ""},
	{"a label of 64 bytes", "123401000001000000000000 40" + "6161616161616161616161616161616161616161616161616161616161616161" +
		"6161616161616161616161616161616161616161616161616161616161616161" + "00 00010001", ""},
	{"opcode IQUERY", "123409000001000000000000 016100 00010001", ""},
	{"opcode STATUS", "123411000001000000000000 016100 00010001", ""},
	{"opcode UPDATE", "123429000001000000000000 016100 00010001", ""},
	{"two answers", "123401000001000200000000 016100 00010001", ""},
	{"two authorities", "123401000001000000020000 016100 00010001", ""},
	{"three additional records", "123401000001000000000003 016100 00010001", ""},
	{"an additional record that is not there", "123401000001000000000001 016100 00010001",
		"both take the question for good; the name is outside the cluster, see differences_test.go"},
	{"an OPT record cut short", "123401000001000000000001 016100 00010001 000029 0500", ""},
}

// TestMalformed compares the first four bytes of replies, identifier and flags, to packets
// that are no questions: it is all there is to say to them. Silence is an answer as well.
func TestMalformed(t *testing.T) {
	c := newCluster(t)
	s := settings{pods: "disabled"}
	theirs, ours := startCoreDNS(t, c, s), startOurs(t, c, s)
	for _, row := range malformed {
		t.Run(row.about, func(t *testing.T) {
			packet, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(row.packet), []byte(" "), nil)))
			must(t, err)
			want, got := sendRaw(t, theirs, packet), sendRaw(t, ours, packet)
			if differ := want != got; differ != (row.reason != "") {
				t.Errorf("CoreDNS: %q, ours: %q; listed as a difference: %v", want, got, row.reason != "")
			}
		})
	}
}

// sendRaw returns the head of the reply to a packet.
func sendRaw(t *testing.T, address string, packet []byte) string {
	t.Helper()
	conn, err := net.Dial("udp", address)
	must(t, err)
	defer conn.Close()
	_, err = conn.Write(packet)
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	reply := make([]byte, 512)
	n, err := conn.Read(reply)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "silence"
	}
	must(t, err)
	return hex.EncodeToString(reply[:min(n, 4)])
}
