package match

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Hash combines what hash policies say about a request, as Envoy does, so that a fleet of both agrees: the sum so far is rotated
// by one bit before the next hash is added, and a terminal policy ends the list once there is a hash. missing makes the value
// of a cookie that the request lacks, "" for none; nil makes none.
func Hash(policies []model.HashPolicy, r *message.Request, info *streaminfo.Info, missing func(*model.HashPolicy) string) (sum uint64, ok bool) {
	for i := range policies {
		p := &policies[i]
		if h, found := hashOf(p, r, info, missing); found {
			sum, ok = (sum<<1|sum>>63)^h, true
		}
		if ok && p.Terminal {
			break
		}
	}
	return sum, ok
}

func hashOf(p *model.HashPolicy, r *message.Request, info *streaminfo.Info, missing func(*model.HashPolicy) string) (uint64, bool) {
	switch {
	case p.Header != "":
		return hashHeader(p, r)
	case p.Cookie != "":
		v, _ := CookieValue(&r.Headers, p.Cookie)
		if v == "" && missing != nil {
			v = missing(p)
		}
		return xxhash.Sum64String(v), v != ""
	case p.SourceIP:
		client := info.ClientAddr()
		if !client.IsValid() {
			return 0, false
		}
		var buf [64]byte
		return xxhash.Sum64(client.AppendTo(buf[:0])), true
	case p.QueryParameter != "":
		_, query, _ := strings.Cut(r.Path, "?")
		query, _, _ = strings.Cut(query, "#")
		v, found := QueryValue(query, p.QueryParameter)
		return xxhash.Sum64String(v), found
	case p.FilterState != "" && info != nil:
		return hashState(info.FilterState[p.FilterState])
	}
	return 0, false
}

// hashState hashes an object of the filter state: a string, or what has a hash of its own.
func hashState(v any) (uint64, bool) {
	switch v := v.(type) {
	case string:
		return xxhash.Sum64String(v), true
	case interface{ Hash() (uint64, bool) }:
		return v.Hash()
	}
	return 0, false
}

// hashHeader hashes the values of a header; several in sorted order, so that theirs does not matter.
func hashHeader(p *model.HashPolicy, r *message.Request) (uint64, bool) {
	first, ok := r.Lookup(p.Header)
	if !ok {
		return 0, false
	}
	values := valuesOf(&r.Headers, p.Header)
	if len(values) < 2 {
		return xxhash.Sum64String(rewritten(p.HeaderRewrite, first)), true
	}
	for i := range values {
		values[i] = rewritten(p.HeaderRewrite, values[i])
	}
	slices.Sort(values)
	return xxhash.Sum64String(strings.Join(values, "")), true
}

// valuesOf returns the values of a header that is there more than once, nil otherwise.
func valuesOf(h *message.Headers, name string) []string {
	id, n := message.IDOf(name), 0
	is := func(f *message.Field) bool {
		return f.ID == id && (id != message.Other || EqualFold(f.Name, name))
	}
	for f := range h.All() {
		if is(f) {
			n++
		}
	}
	if n < 2 {
		return nil
	}
	values := make([]string, 0, n)
	for f := range h.All() {
		if is(f) {
			values = append(values, f.Value)
		}
	}
	return values
}

func rewritten(rw *model.RegexRewrite, v string) string {
	if rw == nil {
		return v
	}
	return rw.Regex.ReplaceAllString(v, rw.Substitution)
}
