package protoyaml

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	lineNumber    = regexp.MustCompile(`^line (\d+): (?s)(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// shortLines are the problems of which the library's parser counts lines from 0. Those of its scanner count from 1.
var shortLines = []string{
	"did not find expected <stream-start>", "did not find expected <document start>", "did not find expected node content",
	"did not find expected '-' indicator", "did not find expected key", "did not find expected ',' or ']'", "did not find expected ',' or '}'",
}

// yamlError converts the library's "yaml: line N: what", where the line may be missing, to an Error with a line.
func yamlError(src []byte, file string, err error) Error {
	e := Error{File: file, Code: CodeSyntax, Reason: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := lineNumber.FindStringSubmatch(e.Reason); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Reason = m[2]
		if slices.Contains(shortLines, e.Reason) {
			// The end of the text counts as a line of its own.
			e.Line = min(e.Line+1, 1+bytes.Count(bytes.TrimRight(src, "\r\n"), []byte("\n")))
		}
	} else {
		e.Line = lineWithout(src, e.Reason)
	}
	if strings.Contains(e.Reason, "cannot start any token") {
		e.Suggestion = "YAML is indented with spaces, not tabs, and values that begin with @, ` or % must be quoted"
	}
	if line := lineOf(src, e.Reason); line > 0 {
		e.Line, e.Suggestion = line, indentHint(src, line)
	}
	e.Reason = "not valid YAML: " + e.Reason
	return e
}

// lineWithout is the line of a problem that the library tells no line of: it is on the first line, or a character that
// YAML does not allow, or an alias.
func lineWithout(src []byte, reason string) int {
	at := 0
	if m := unknownAnchor.FindStringSubmatch(reason); m != nil {
		at = bytes.Index(src, []byte("*"+m[1]))
	} else if strings.Contains(reason, "control characters") || strings.Contains(reason, "UTF-8") {
		at = badCharacter(src)
	}
	return 1 + bytes.Count(src[:max(at, 0)], []byte("\n"))
}

// badCharacter is the offset of the first byte that is not part of a character that YAML allows (YAML 1.2, 5.1); -1 is
// none.
func badCharacter(src []byte) int {
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		control := r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85
		if control || r == utf8.RuneError && size == 1 || r == 0xfffe || r == 0xffff {
			return i
		}
		i += size
	}
	return -1
}
