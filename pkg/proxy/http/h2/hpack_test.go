package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// collected keeps decoded fields.
type collected struct{ fields []hpack.HeaderField }

func (c *collected) field(f *field) bool {
	c.fields = append(c.fields, hpack.HeaderField{Name: f.Name, Value: f.Value})
	return true
}

// decodeAll decodes one block; fields are copied.
func decodeAll(d *decoder, block []byte) ([]hpack.HeaderField, error) {
	var c collected
	err := d.decode(block, &c)
	return c.fields, err
}

func TestDecoderReadsTheExamplesOfTheRFC(t *testing.T) {
	// RFC 7541 appendices C.3 to C.6: requests and responses, plain and Huffman coded; the responses have a table of 256.
	cases := []struct {
		name   string
		table  int
		blocks []string
		want   []string
	}{
		{"C.3", 4096, []string{
			"828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
			"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
		}, []string{
			":method GET|:scheme http|:path /|:authority www.example.com",
			":method GET|:scheme http|:path /|:authority www.example.com|cache-control no-cache",
			":method GET|:scheme https|:path /index.html|:authority www.example.com|custom-key custom-value",
		}},
		{"C.4", 4096, []string{
			"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
		}, []string{
			":method GET|:scheme http|:path /|:authority www.example.com",
			":method GET|:scheme http|:path /|:authority www.example.com|cache-control no-cache",
			":method GET|:scheme https|:path /index.html|:authority www.example.com|custom-key custom-value",
		}},
		{"C.5", 256, []string{
			"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
			"4803333037c1c0bf",
		}, []string{
			":status 302|cache-control private|date Mon, 21 Oct 2013 20:13:21 GMT|location https://www.example.com",
			":status 307|cache-control private|date Mon, 21 Oct 2013 20:13:21 GMT|location https://www.example.com",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := newDecoder(c.table)
			for i, text := range c.blocks {
				var block []byte
				if _, err := fmt.Sscanf(text, "%x", &block); err != nil {
					t.Fatal(err)
				}
				got, err := decodeAll(d, block)
				var words []string
				for _, f := range got {
					words = append(words, f.Name+" "+f.Value)
				}
				if strings.Join(words, "|") != c.want[i] || err != nil {
					t.Errorf("block %d: %q, %v", i, words, err)
				}
			}
		})
	}
}

func TestDecoderRefuses(t *testing.T) {
	cases := []struct {
		name  string
		block []byte
	}{
		{"index 0", []byte{0x80}},
		{"index beyond the tables", []byte{0x80 | 62}},
		{"name index beyond the tables", []byte{0x40 | 62, 1, 'a'}},
		{"truncated integer", []byte{0xff, 0x80}},
		{"endless integer", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}},
		{"truncated string", []byte{0x40, 5, 'a'}},
		{"no value", []byte{0x40, 1, 'a'}},
		{"Huffman padding of zeros", []byte{0x40, 1, 'a', 0x81, 0x00}},
		{"Huffman end of string", []byte{0x40, 1, 'a', 0x84, 0xff, 0xff, 0xff, 0xff}},
		{"table size above the bound", []byte{0x3f, 0xe2, 0x1f}},
		{"table size behind a field", []byte{0x40, 1, 'a', 1, 'b', 0x20}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := newDecoder(4096)
			if got, err := decodeAll(d, c.block); err == nil {
				t.Errorf("decoded %v", got)
			}
		})
	}
}

// randomFields are fields of the kinds that proxies see: repeated, changing, long, and of odd characters.
func randomFields(r *rand.Rand) []message.Field {
	var h message.Headers
	names := []string{"accept", "X-Request-Id", "server", "date", "x-own", "cookie", "authorization", "content-type", "x-b3", "x-c", "x-d", "x-e"}
	for range r.IntN(20) {
		name := names[r.IntN(len(names))]
		value := fmt.Sprint("v", r.IntN(3))
		switch r.IntN(8) {
		case 0:
			value = strings.Repeat("long", r.IntN(2000))
		case 1:
			value = fmt.Sprint(r.Uint64())
		case 2:
			value = "\xff\x80 odd"
		case 3:
			name = fmt.Sprint("x-", r.IntN(200))
		}
		h.Add(name, value)
	}
	var out []message.Field
	for f := range h.All() {
		out = append(out, *f)
	}
	return out
}

// TestEncoderAgreesWithOthers sends blocks through our encoder to our decoder and to that of x/net, and the other way
// round, while the size of the table changes.
func TestEncoderAgreesWithOthers(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var e encoder
		e.init()
		ours, theirs := newDecoder(4096), hpack.NewDecoder(4096, nil)
		var sent bytes.Buffer
		other := hpack.NewEncoder(&sent)
		for round := range 100 {
			if r.IntN(10) == 0 {
				n := uint32(r.IntN(5000))
				e.setMax(n)
				other.SetMaxDynamicTableSize(min(n, 4096))
			}
			var want []hpack.HeaderField
			block := e.status(e.begin(nil), 200+r.IntN(300))
			fields := randomFields(r)
			block = e.pseudo(block, pseudoPath, fmt.Sprint("/", r.IntN(4)))
			sent.Reset()
			for i := range fields {
				f := &fields[i]
				block = e.field(block, f)
				want = append(want, hpack.HeaderField{Name: strings.ToLower(f.Name), Value: f.Value})
				if err := other.WriteField(want[i]); err != nil {
					t.Fatal(err)
				}
			}
			got, err := decodeAll(ours, block)
			if err != nil {
				t.Fatalf("seed %d round %d: %v", seed, round, err)
			}
			if !slices.Equal(want, got[2:]) {
				t.Fatalf("seed %d round %d: %s", seed, round, cmp.Diff(want, got[2:]))
			}
			full, err := theirs.DecodeFull(block)
			for i := range full {
				full[i].Sensitive = false
			}
			if err != nil || !cmp.Equal(full, got) {
				t.Fatalf("seed %d round %d: x/net has %v, %v", seed, round, full, err)
			}
		}
	}
}

// TestDecoderAgreesWithOthers reads what the encoder of x/net writes.
func TestDecoderAgreesWithOthers(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		d := newDecoder(4096)
		var sent bytes.Buffer
		enc := hpack.NewEncoder(&sent)
		for round := range 100 {
			if r.IntN(10) == 0 {
				enc.SetMaxDynamicTableSize(uint32(r.IntN(4097)))
			}
			sent.Reset()
			var want []hpack.HeaderField
			for _, f := range randomFields(r) {
				h := hpack.HeaderField{Name: strings.ToLower(f.Name), Value: f.Value}
				want = append(want, h)
				h.Sensitive = r.IntN(5) == 0
				if err := enc.WriteField(h); err != nil {
					t.Fatal(err)
				}
			}
			got, err := decodeAll(d, sent.Bytes())
			if !slices.Equal(want, got) || err != nil {
				t.Fatalf("seed %d round %d: %v %s", seed, round, err, cmp.Diff(want, got))
			}
		}
	}
}

// TestDecoderOwnsEmptyFields reads a field without a value from the table, after the memory that it was read into had another.
func TestDecoderOwnsEmptyFields(t *testing.T) {
	d := newDecoder(4096)
	var sent bytes.Buffer
	enc := hpack.NewEncoder(&sent)
	for range 3 {
		sent.Reset()
		want := []hpack.HeaderField{{Name: "x-nothing-in-it"}, {Name: "x-sum", Value: "0"}}
		for _, f := range want {
			if err := enc.WriteField(f); err != nil {
				t.Fatal(err)
			}
		}
		got, err := decodeAll(d, sent.Bytes())
		if !slices.Equal(want, got) || err != nil {
			t.Fatalf("%v %s", err, cmp.Diff(want, got))
		}
	}
}

func TestEncoderLearnsWhatChanges(t *testing.T) {
	var e encoder
	e.init()
	f := message.Field{ID: message.XRequestID, Name: "x-request-id"}
	entered := 0
	for i := range 100 {
		f.Value = fmt.Sprint("changes ", i)
		if e.field(e.begin(nil), &f)[0]&0xc0 == 0x40 {
			entered++
		}
	}
	if entered == 0 || entered > 100/retry+patience+2 {
		t.Errorf("%d values entered the table", entered)
	}
	stays := message.Field{ID: message.Server, Name: "server", Value: "weir"}
	e.field(nil, &stays)
	if n := len(e.field(nil, &stays)); n != 1 {
		t.Errorf("a field that stays takes %d bytes", n)
	}
}

func TestEncoderLeavesOutWhatWouldBecomeTwoFields(t *testing.T) {
	for _, f := range []message.Field{
		{Name: "x", Value: "a\r\nb: c"}, {Name: "x\n", Value: "a"}, {Name: "x", Value: "a\x00"}, {ID: message.Cookie, Name: "cookie", Value: "a\n"},
	} {
		var e encoder
		e.init()
		if b := e.field(e.begin(nil), &f); len(b) != 0 || !e.bad {
			t.Errorf("%q %q: %q, %v", f.Name, f.Value, b, e.bad)
		}
	}
}

// TestTableMayBeSizedTwice reads the smallest and the final size of a table whose entries stay (RFC 7541 section 4.2).
func TestTableMayBeSizedTwice(t *testing.T) {
	d := newDecoder(4096)
	if _, err := decodeAll(d, []byte{0x40, 1, 'a', 1, 'b'}); err != nil {
		t.Fatal(err)
	}
	got, err := decodeAll(d, []byte{0x3f, 0xe1, 0x01, 0x3f, 0xe1, 0x0f, 0xbe}) // 256, 2048
	if want := []hpack.HeaderField{{Name: "a", Value: "b"}}; err != nil || !slices.Equal(want, got) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err = decodeAll(d, []byte{0x3f, 0xe1}); err == nil {
		t.Error("a truncated size is accepted")
	}
}

// picky takes a number of fields and counts what it is given.
type picky struct{ want, got int }

func (p *picky) field(*field) bool {
	p.got++
	return p.got < p.want
}

// TestDecoderStopsWhenTold reads a block whose fields are not all wanted: the table is as the peer has it all the same.
func TestDecoderStopsWhenTold(t *testing.T) {
	block := []byte{0x40, 1, 'a', 2, 'b', 'c'}
	for range 10_000 {
		block = append(block, 0xbe)
	}
	block = append(block, 0x40, 1, 'c', 1, 'd')
	d := newDecoder(4096)
	p := &picky{want: 3}
	if err := d.decode(block, p); err != nil || p.got != 3 {
		t.Errorf("%d fields, %v", p.got, err)
	}
	got, err := decodeAll(d, []byte{0xbe, 0xbf})
	want := []hpack.HeaderField{{Name: "c", Value: "d"}, {Name: "a", Value: "bc"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// TestEncoderForgets sends more than an encoder may remember.
func TestEncoderForgets(t *testing.T) {
	var e encoder
	e.init()
	dec := hpack.NewDecoder(4096, nil)
	for i := range 1000 {
		f := message.Field{Name: fmt.Sprint("x-", i%encSlots, "-", i/500), Value: strings.Repeat(fmt.Sprint(i), 100)}
		got, err := dec.DecodeFull(e.field(e.begin(nil), &f))
		if err != nil || len(got) != 1 || got[0].Name != f.Name || got[0].Value != f.Value {
			t.Fatalf("%v, %v", got, err)
		}
		held := 0
		for _, k := range e.pairs {
			held += len(k.name) + len(k.value)
		}
		if held != e.held || held > maxHeld {
			t.Fatalf("%d bytes held, counted %d", held, e.held)
		}
	}
}

// TestEncoderKeepsNothingOfOthers encodes strings whose memory is used again.
func TestEncoderKeepsNothingOfOthers(t *testing.T) {
	var e encoder
	e.init()
	dec := hpack.NewDecoder(4096, nil)
	r := rand.New(rand.NewPCG(3, 3))
	var room [40]byte
	for range 5000 {
		n := copy(room[:], fmt.Sprint("x-", r.IntN(80)))
		m := copy(room[n:], fmt.Sprint("value ", r.IntN(4)))
		name, value := string(room[:n]), string(room[n:n+m])
		f := message.Field{Name: view(room[:n]), Value: view(room[n : n+m])}
		got, err := dec.DecodeFull(e.field(e.begin(nil), &f))
		clear(room[:])
		if err != nil || len(got) != 1 || got[0].Name != name || got[0].Value != value {
			t.Fatalf("%q %q: %v, %v", name, value, got, err)
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	block := hpackBlock(b, "x-literal", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101", ":path", "/inventory/items?page=2")
	d := newDecoder(0)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.decode(block, &picky{want: 10}); err != nil {
			b.Fatal(err)
		}
	}
}

// hpackBlock encodes fields given as name and value by turns, which do not enter the table.
func hpackBlock(t testing.TB, fields ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	for i := 0; i < len(fields); i += 2 {
		if err := enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// FuzzDecoder compares our decoder with that of x/net on arbitrary blocks.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte{0x82, 0x86, 0x84, 0x41, 0x03, 'a', 'b', 'c'}, []byte{0xbe})
	f.Add([]byte{0x3f, 0xe1, 0x1f, 0x40, 0x81, 0x1f, 0x82, 0x1f, 0xff}, []byte{0x20, 0xbe})
	f.Add([]byte{0x00, 0x01, 'A', 0x02, ' ', 0x00}, []byte{0x10, 0x01, '_', 0x00})
	f.Add(append([]byte{0x3f, 0x29, 0x40, 1, 'a', 20}, "                    "...), []byte{0x40, 1, 'b', 1, 'c', 0xbf})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		ours, theirs := newDecoder(4096), hpack.NewDecoder(4096, nil)
		for _, block := range [][]byte{first, second} {
			got, err := decodeAll(ours, block)
			want, werr := theirs.DecodeFull(block)
			if err != nil || werr != nil {
				if err == nil && !strings.Contains(werr.Error(), "dynamic table size update") {
					t.Fatalf("we read %v, x/net says %v", got, werr)
				}
				return
			}
			for i := range want {
				want[i].Sensitive = false
				want[i].Value = strings.Trim(want[i].Value, " \t") // as RFC 9113 section 8.2.1 has it
				got[i].Value = strings.Trim(got[i].Value, " \t")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
