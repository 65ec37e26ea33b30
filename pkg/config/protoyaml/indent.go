package protoyaml

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// maxSearched bounds the text in which the line of a problem is looked for: each step of the search parses a part of it.
const maxSearched = 1 << 20

// lateProblems are those of which the library tells where the block begins that they are in, which may be far above.
var lateProblems = []string{
	"did not find expected key", "did not find expected '-' indicator", "found a tab character that violates indentation",
}

// lineOf is the line that makes the parser say reason, counting from 1: the last one of the shortest beginning of src that has
// the problem. It is 0 when that cannot be told.
func lineOf(src []byte, reason string) int {
	if len(src) > maxSearched || !slices.Contains(lateProblems, reason) {
		return 0
	}
	ends := lineEnds(src)
	has := func(lines int) bool {
		_, err := parseYAML(src[:ends[lines-1]])
		return err != nil && strings.HasSuffix(err.Error(), reason)
	}
	// A parser that has met the problem does not read on, so that more lines change nothing.
	low, high := 1, len(ends)
	if !has(high) {
		return 0
	}
	for low < high {
		if middle := (low + high) / 2; has(middle) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}

// lineEnds are the offsets after each line of src.
func lineEnds(src []byte) []int {
	var ends []int
	for at := 0; at < len(src); {
		n := bytes.IndexByte(src[at:], '\n')
		if n < 0 {
			return append(ends, len(src))
		}
		at += n + 1
		ends = append(ends, at)
	}
	return ends
}

// indentHint says how far the line could be indented, when that is why it fits nowhere.
func indentHint(src []byte, line int) string {
	lines := bytes.Split(src, []byte("\n"))
	if line < 2 || line > len(lines) {
		return ""
	}
	got := indent(lines[line-1])
	if bytes.HasPrefix(lines[line-1][got:], []byte("\t")) {
		return "YAML is indented with spaces, not tabs"
	}
	open := openIndents(lines[:line-1])
	if slices.Contains(open, got) {
		return ""
	}
	texts := make([]string, len(open))
	for i, n := range open {
		texts[i] = fmt.Sprint(n)
	}
	return fmt.Sprintf("the line is indented by %d, and the blocks that it could be part of by %s", got, strings.Join(texts, ", "))
}

// openIndents are the indentations of the blocks that are open after lines, the innermost last. The content of a list's
// item is indented by the dash too.
func openIndents(lines [][]byte) []int {
	var open []int
	least := -1
	for _, l := range slices.Backward(lines) {
		at := indent(l)
		if text := bytes.TrimSpace(l); len(text) == 0 || text[0] == '#' {
			continue
		}
		columns := []int{at}
		for rest := l[at:]; len(rest) > 1 && rest[0] == '-' && rest[1] == ' '; {
			n := 1 + indent(rest[1:])
			rest = rest[n:]
			columns = append(columns, columns[len(columns)-1]+n)
		}
		for _, c := range slices.Backward(columns) {
			if least < 0 || c < least {
				open, least = append(open, c), c
			}
		}
		if least == 0 {
			break
		}
	}
	slices.Reverse(open)
	return open
}

// indent counts the spaces that line begins with.
func indent(line []byte) int { return len(line) - len(bytes.TrimLeft(line, " ")) }
