package hcm

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// pathOutcome is what becomes of a request because of its path.
type pathOutcome uint8

const (
	pathFine pathOutcome = iota
	pathRejected
	pathRedirect // to the returned path
)

// normalizePath applies, in Envoy's order, path_with_escaped_slashes_action, normalize_path and merge_slashes. The query
// stays as it is. A path with a fragment is rejected: no client sends one.
// slashes is asked for the action on escaped slashes when there are some.
func normalizePath(cfg *model.HTTPConnectionManager, a *filter.Arena, path string, slashes func() model.EscapedSlashes) (string, pathOutcome) {
	if strings.IndexByte(path, '#') >= 0 {
		return path, pathRejected
	}
	if !cfg.NormalizePath && !cfg.MergeSlashes && cfg.EscapedSlashes == model.EscapedKeep {
		return path, pathFine
	}
	bare, query := path, ""
	if i := strings.IndexByte(path, '?'); i >= 0 {
		bare, query = path[:i], path[i:]
	}
	redirect := false
	if cfg.EscapedSlashes != model.EscapedKeep && hasEscapedSlash(bare) {
		switch slashes() {
		case model.EscapedReject:
			return path, pathRejected
		case model.EscapedUnescapeRedirect:
			redirect = true
			bare = a.End(appendUnescapedSlashes(a.Begin(), bare))
		case model.EscapedUnescapeForward:
			bare = a.End(appendUnescapedSlashes(a.Begin(), bare))
		}
	}
	if cfg.NormalizePath && !isCanonical(bare) {
		b, ok := appendCanonical(a.Begin(), bare)
		if !ok {
			return path, pathRejected
		}
		bare = a.End(b)
	}
	if cfg.MergeSlashes && strings.Contains(bare, "//") {
		bare = a.End(appendMerged(a.Begin(), bare))
	}
	out := bare
	if query != "" {
		out = a.Join(bare, query)
	}
	if redirect {
		return out, pathRedirect
	}
	return out, pathFine
}

func hasEscapedSlash(p string) bool {
	for i := 0; i+2 < len(p); i++ {
		if p[i] == '%' && isEscapedSlash(p[i+1], p[i+2]) {
			return true
		}
	}
	return false
}

// isEscapedSlash recognises %2F and %5C.
func isEscapedSlash(hi, lo byte) bool {
	return hi == '2' && (lo == 'F' || lo == 'f') || hi == '5' && (lo == 'C' || lo == 'c')
}

func appendUnescapedSlashes(dst []byte, p string) []byte {
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) && isEscapedSlash(p[i+1], p[i+2]) {
			if p[i+1] == '2' {
				dst = append(dst, '/')
			} else {
				dst = append(dst, '\\')
			}
			i += 2
			continue
		}
		dst = append(dst, p[i])
	}
	return dst
}

// isCanonical is the quick answer for usual paths.
func isCanonical(p string) bool {
	for i := range len(p) {
		switch c := p[i]; {
		case c == '%' || c == '\\' || c <= ' ' || c >= 0x7f:
			return false
		case c == '.' && i > 0 && p[i-1] == '/':
			return false
		}
	}
	return true
}

// appendCanonical resolves dot segments (also escaped ones), turns backslashes into slashes and decodes escaped
// unreserved characters (RFC 3986 section 6.2.2). It refuses malformed escapes of NUL.
func appendCanonical(dst []byte, p string) ([]byte, bool) {
	start := len(dst)
	if p == "*" {
		return append(dst, p...), true
	}
	for i := 0; i < len(p); {
		// p[i] begins a segment with its slash
		i++
		dst = append(dst, '/')
		seg := len(dst)
		for i < len(p) && p[i] != '/' && p[i] != '\\' {
			c := p[i]
			if c == '%' && i+2 < len(p) {
				v, ok := unhex(p[i+1], p[i+2])
				switch {
				case ok && v == 0:
					return dst, false
				case ok && unreserved(v):
					dst = append(dst, v)
					i += 3
					continue
				}
			}
			dst = append(dst, c)
			i++
		}
		last := i >= len(p)
		switch string(dst[seg:]) {
		case ".":
			dst = dst[:seg]
			if !last {
				dst = dst[:seg-1]
			}
		case "..":
			dst = dst[:seg-1]
			for len(dst) > start && dst[len(dst)-1] != '/' {
				dst = dst[:len(dst)-1]
			}
			if len(dst) == start {
				dst = append(dst, '/')
			}
			if !last { // the next segment brings its own slash
				dst = dst[:len(dst)-1]
			}
		}
	}
	if len(dst) == start {
		dst = append(dst, '/')
	}
	return dst, true
}

func unhex(hi, lo byte) (byte, bool) {
	h, ok := hexDigit(hi)
	l, ok2 := hexDigit(lo)
	return h<<4 | l, ok && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func appendMerged(dst []byte, p string) []byte {
	for i := range len(p) {
		if p[i] == '/' && i > 0 && p[i-1] == '/' {
			continue
		}
		dst = append(dst, p[i])
	}
	return dst
}
