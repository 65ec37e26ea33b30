package h2

import (
	"errors"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// errHuffman is a string that is not what an encoder makes (RFC 7541 section 5.2).
var errHuffman = errors.New("invalid Huffman code")

// huffmanStep is what four bits do in a state: no code is shorter than five, so that they end one at most.
type huffmanStep struct {
	next  uint8
	value byte
	emit  bool // value is complete
	fail  bool // the code of the end of string, which must not be there
}

// huffmanStates decodes four bits at a time. A state is an inner node of the code's tree; 0 is its root.
type huffmanStates struct {
	steps [256][16]huffmanStep
	// final states are those where a string may end: a part of the end of string, shorter than a byte, is behind a code.
	final [256]bool
}

// huffman is read only.
var huffman = newHuffmanStates()

// Children of a node of the tree: an inner node, or a leaf for values above. 0 is none, as the root is nobody's child.
const (
	huffmanLeaf = 1 << 10
	huffmanEOS  = huffmanLeaf + 256
)

func newHuffmanStates() *huffmanStates {
	tree := make([][2]int, 1, 256)
	insert := func(code []byte, bits, leaf int) {
		at := 0
		for i := range bits {
			bit := code[i/8] >> (7 - i%8) & 1
			next := &tree[at][bit]
			switch {
			case i == bits-1:
				*next = leaf
			case *next == 0:
				*next = len(tree)
				tree = append(tree, [2]int{})
				at = len(tree) - 1
			default:
				at = *next
			}
		}
	}
	for c := range 256 {
		s := string([]byte{byte(c)})
		bits := int(hpack.HuffmanEncodeLength(strings.Repeat(s, 8))) // eight codes are as many bytes as one is bits
		insert(hpack.AppendHuffmanString(nil, s), bits, huffmanLeaf+c)
	}
	insert([]byte{0xff, 0xff, 0xff, 0xff}, 30, huffmanEOS)
	var t huffmanStates
	for at := range tree {
		for four := range 16 {
			t.steps[at][four] = walkHuffman(tree, at, four)
		}
	}
	for at, depth := 0, 0; depth < 8; depth++ {
		t.final[at] = true
		at = tree[at][1]
	}
	return &t
}

// walkHuffman follows four bits from a node.
func walkHuffman(tree [][2]int, at, four int) (s huffmanStep) {
	for shift := 3; shift >= 0; shift-- {
		at = tree[at][four>>shift&1]
		if at == huffmanEOS {
			s.fail = true
			return s
		}
		if at >= huffmanLeaf {
			s.value, s.emit, at = byte(at-huffmanLeaf), true, 0
		}
	}
	s.next = uint8(at)
	return s
}

// huffman adds a Huffman coded string.
func (a *arena) huffman(p []byte) (string, error) {
	a.room(len(p)*8/5 + 1) // the shortest code has 5 bits
	from, state := len(a.b), uint8(0)
	b := a.b
	for _, c := range p {
		hi := &huffman.steps[state][c>>4]
		if hi.emit {
			b = append(b, hi.value)
		}
		lo := &huffman.steps[hi.next][c&15]
		if lo.emit {
			b = append(b, lo.value)
		}
		if hi.fail || lo.fail {
			return "", errHuffman
		}
		state = lo.next
	}
	if !huffman.final[state] {
		return "", errHuffman
	}
	a.b = b
	return a.since(from), nil
}
