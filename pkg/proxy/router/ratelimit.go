package router

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// Descriptors implements filter.Rules.
func (e *entry) Descriptors(dst []filter.Descriptor, s *filter.Stream, r *filter.Route, level filter.RateLimitLevel) []filter.Descriptor {
	var own []model.RateLimit
	include := false
	if a := e.route.Action; a != nil {
		own, include = a.RateLimits, a.IncludeVHRateLimits
	}
	if level != filter.RateLimitsOnlyVirtualHost {
		dst = e.descriptors(dst, own, s, r)
	}
	if level == filter.RateLimitsOnlyVirtualHost || level == filter.RateLimitsOfRoute && (include || len(own) == 0) {
		dst = e.descriptors(dst, e.host.config.RateLimits, s, r)
	}
	return dst
}

// descriptors appends what each of the rate limits yields that yields something.
func (e *entry) descriptors(dst []filter.Descriptor, list []model.RateLimit, s *filter.Stream, r *filter.Route) []filter.Descriptor {
	for i := range list {
		l := &list[i]
		d := filter.Descriptor{Stage: l.Stage, DisableKey: l.DisableKey}
		complete := true
		for j := range l.Actions {
			entry, use, ok := e.descriptorEntry(&l.Actions[j], s, r)
			if complete = ok; !ok {
				break
			}
			if use {
				d.Entries = append(d.Entries, entry)
			}
		}
		if !complete || len(d.Entries) == 0 {
			continue
		}
		d.Limit = limitOf(l.Limit, s)
		dst = append(dst, d)
	}
	return dst
}

// descriptorEntry makes the entry of an action. use tells that there is one, ok that the descriptor can still come to be.
func (e *entry) descriptorEntry(a *model.RateLimitAction, s *filter.Stream, r *filter.Route) (out filter.DescriptorEntry, use, ok bool) {
	value, found := a.Value, true
	switch a.Kind {
	case model.RateLimitSourceCluster:
		value = e.table.opt.ServiceCluster
	case model.RateLimitDestinationCluster:
		value = r.Cluster
	case model.RateLimitRequestHeader:
		value, found = s.Request.Lookup(a.Source)
	case model.RateLimitQueryParameter:
		value, found = match.QueryValue(queryOf(s.Request.Path), a.Source)
	case model.RateLimitRemoteAddress:
		value, found = masked(s, 32, 128, false)
	case model.RateLimitMaskedRemoteAddress:
		value, found = masked(s, a.V4Bits, a.V6Bits, true)
	case model.RateLimitHeaderMatch:
		found = match.Headers(a.Headers, s.Request) != a.Unexpected
	case model.RateLimitQueryMatch:
		found = match.Query(a.Query, s.Request.Path) != a.Unexpected
	case model.RateLimitDynamicMetadata:
		value = textAt(s.Info.Dynamic, &a.Metadata, a.Value)
		found = value != ""
	case model.RateLimitRouteMetadata:
		value = textAt(e.route.Metadata, &a.Metadata, a.Value)
		found = value != ""
	}
	if !found {
		return out, false, a.SkipIfAbsent
	}
	return filter.DescriptorEntry{Key: a.Key, Value: value}, true, true
}

func queryOf(path string) string {
	_, query, _ := strings.Cut(path, "?")
	return query
}

// masked is the client's address, with the length of its prefix when that is wanted; ok is false when it is not an IP.
func masked(s *filter.Stream, v4, v6 int, withLength bool) (text string, ok bool) {
	addr := s.Info.ClientAddr().Unmap().WithZone("")
	bits := v6
	if addr.Is4() {
		bits = v4
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return "", false
	}
	if withLength {
		return p.String(), true
	}
	return p.Addr().String(), true
}

// textAt is the text at a metadata key, or instead when there is none.
func textAt(tree map[string]map[string]any, key *model.MetadataKey, instead string) string {
	v, _ := match.At(tree[key.Filter], key.Path)
	if text, ok := v.(string); ok && text != "" {
		return text
	}
	return instead
}

// limitOf is the limit in the dynamic metadata; nil when there is none that can be understood.
func limitOf(key *model.MetadataKey, s *filter.Stream) *filter.DescriptorLimit {
	if key == nil {
		return nil
	}
	v, _ := match.At(s.Info.Dynamic[key.Filter], key.Path)
	m, _ := v.(map[string]any)
	n, isNumber := m["requests_per_unit"].(float64)
	if text, isText := m["requests_per_unit"].(string); isText {
		parsed, err := strconv.ParseUint(text, 10, 32)
		n, isNumber = float64(parsed), err == nil
	}
	unit, _ := m["unit"].(string)
	unit = strings.ToUpper(unit)
	if !isNumber || n < 0 || n > math.MaxUint32 || !slices.Contains([]string{"SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR"}, unit) {
		return nil
	}
	return &filter.DescriptorLimit{RequestsPerUnit: uint32(n), Unit: unit}
}
