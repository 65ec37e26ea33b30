package headermutation

import (
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// queryStep is one change of a query parameter.
type queryStep struct {
	key    string
	remove bool
	value  *format.Format
	action model.AppendAction
}

// changeQuery returns the request's path with its query changed. Parameters that are not concerned keep their place and
// their bytes; keys are compared as they are written.
func changeQuery(s *filter.Stream, steps []queryStep) string {
	path, query, _ := strings.Cut(s.Request.Path, "?")
	var params []string
	if query != "" {
		params = strings.Split(query, "&")
	}
	for i := range steps {
		params = steps[i].apply(s, params)
	}
	if len(params) == 0 {
		return path
	}
	return path + "?" + strings.Join(params, "&")
}

func (q *queryStep) apply(s *filter.Stream, params []string) []string {
	if q.remove {
		return without(params, q.key, "")
	}
	at := find(params, q.key)
	if at >= 0 && q.action == model.AddIfAbsent || at < 0 && q.action == model.OverwriteIfExists {
		return params
	}
	one := q.key + "=" + escape(s.Arena.End(q.value.Append(s.Arena.Begin(), &s.Format)))
	if at >= 0 && q.action != model.AppendOrAdd {
		return without(params, q.key, one)
	}
	return append(params, one)
}

func key(param string) string {
	k, _, _ := strings.Cut(param, "=")
	return k
}

func find(params []string, name string) int {
	for i, p := range params {
		if key(p) == name {
			return i
		}
	}
	return -1
}

// without removes all parameters of a name and puts in at the place of the first one, unless it is empty.
func without(params []string, name, in string) []string {
	out := params[:0]
	for _, p := range params {
		if key(p) != name {
			out = append(out, p)
			continue
		}
		if in != "" {
			out = append(out, in)
			in = ""
		}
	}
	return out
}

// escape makes a value safe to stand in a query: what would end it, or the request line, is percent-encoded. What is encoded
// already stays.
func escape(v string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(v) {
		c := v[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>#&+`, c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
