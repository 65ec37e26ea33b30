package dnsfilter

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/net/dns/dnsmessage"
)

// headerSize is that of every message (RFC 1035 section 4.1.1).
const headerSize = 12

// fault is what is wrong with a datagram.
type fault uint8

const (
	faultNone fault = iota
	// faultNoQuery is no question but an answer. Answering that could keep two servers talking for ever.
	faultNoQuery
	// faultShort ends within its header, so that nobody could tell what is answered.
	faultShort
	// faultRecords has records that a question does not have.
	faultRecords
	// faultHeader has no identifier, or not exactly one question.
	faultHeader
	// faultName has a question that cannot be read, or is not of the class IN.
	faultName
)

// question is what a client asks.
type question struct {
	header dnsmessage.Header
	name   dnsmessage.Name
	kind   dnsmessage.Type
	// extra tells that more followed, such as what a client says of itself (EDNS).
	extra bool
	// parsed tells that name and kind are set.
	parsed bool
	// lower is the name in small letters.
	lower [255]byte
}

// parse reads a datagram. The header is set unless there is none.
func (q *question) parse(payload []byte) fault {
	q.header, q.parsed = dnsmessage.Header{}, false
	if len(payload) < headerSize {
		return faultShort
	}
	var p dnsmessage.Parser
	header, err := p.Start(payload)
	if err != nil || header.Response {
		return faultNoQuery
	}
	q.header = header
	count := func(section int) uint16 { return binary.BigEndian.Uint16(payload[4+2*section:]) }
	switch {
	case count(1) != 0 || count(2) != 0:
		return faultRecords
	case count(0) != 1 || header.ID == 0:
		return faultHeader
	}
	asked, err := p.Question()
	if err != nil || asked.Class != dnsmessage.ClassINET || asked.Name.Length < 2 {
		return faultName
	}
	q.name, q.kind, q.extra, q.parsed = asked.Name, asked.Type, count(3) != 0, true
	return faultNone
}

// supported tells whether there can be an answer at all.
func (q *question) supported() bool {
	if q.header.OpCode != 0 {
		return false
	}
	return q.kind == dnsmessage.TypeA || q.kind == dnsmessage.TypeAAAA || q.kind == dnsmessage.TypeSRV
}

// text is the name without the dot at its end; it is valid until the next parse.
func (q *question) text(lower bool) []byte {
	name := q.name.Data[:q.name.Length-1]
	if !lower {
		return name
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		q.lower[i] = c
	}
	return q.lower[:len(name)]
}

// typeName is the name of a type of records, its number when it has none here.
func typeName(t dnsmessage.Type) string {
	switch t {
	case dnsmessage.TypeA:
		return "A"
	case dnsmessage.TypeAAAA:
		return "AAAA"
	case dnsmessage.TypeSRV:
		return "SRV"
	}
	return strconv.Itoa(int(t))
}
