package explain

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// limit is a duration of which 0 means that there is no bound.
func limit(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return duration(d)
}

// duration leaves out the zeros that time.Duration writes at the end.
func duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// share is a weight in words.
func share(weight uint32, total uint64) string {
	return fmt.Sprintf("%d of %d", weight, total)
}

// matchText describes what a route matches.
func matchText(m *model.RouteMatch) string {
	var text string
	switch m.Kind {
	case model.PathPrefix:
		text = "prefix " + m.Path
	case model.PathExact:
		text = "path " + m.Path
	case model.PathSeparatedPrefix:
		text = "path_separated_prefix " + m.Path
	case model.PathRegex:
		text = "regex " + regexText(m.Regex)
	case model.PathTemplate:
		text = "URI template " + m.Template
	case model.PathConnect:
		text = "CONNECT"
	}
	if m.IgnoreCase {
		text += " without case"
	}
	for i := range m.Headers {
		text += ", " + headerText(&m.Headers[i])
	}
	for i := range m.Query {
		q := &m.Query[i]
		if q.Present {
			text += ", query parameter " + q.Name + " present"
		} else {
			text += ", query parameter " + q.Name + " " + stringText(&q.String)
		}
	}
	for i := range m.Cookies {
		c := &m.Cookies[i]
		text += ", cookie " + c.Name + " " + inverted(c.Invert) + stringText(&c.String)
	}
	if m.GRPC {
		text += ", gRPC"
	}
	return text + streamText(m)
}

// streamText describes the criteria that are not about the request.
func streamText(m *model.RouteMatch) string {
	var text string
	if t := m.TLS; t != nil {
		if t.Presented != nil {
			text += ", client certificate " + inverted(!*t.Presented) + "presented"
		}
		if t.Validated != nil {
			text += ", client certificate " + inverted(!*t.Validated) + "validated"
		}
	}
	for i := range m.Metadata {
		d := &m.Metadata[i]
		text += ", dynamic metadata " + d.Filter + ":" + strings.Join(d.Path, ".") + " " + inverted(d.Invert) + valueText(&d.Value)
	}
	for i := range m.FilterState {
		f := &m.FilterState[i]
		text += ", filter state " + f.Key + " "
		if f.Prefixes == nil {
			text += stringText(&f.String)
		} else {
			text += inverted(f.InvertPrefixes) + fmt.Sprintf("in %v", f.Prefixes)
		}
	}
	return text
}

func inverted(yes bool) string {
	if yes {
		return "not "
	}
	return ""
}

func valueText(v *model.ValueMatcher) string {
	switch v.Kind {
	case model.ValueNull:
		return "null"
	case model.ValueRange:
		return fmt.Sprintf("from %v to below %v", v.Start, v.End)
	case model.ValueNumber:
		return fmt.Sprintf("= %v", v.Start)
	case model.ValueString:
		return stringText(&v.String)
	case model.ValueBool:
		return fmt.Sprintf("= %t", v.Bool)
	case model.ValuePresent:
		return "present"
	case model.ValueList:
		return "has one that is " + valueText(&v.Any[0])
	}
	var some []string
	for i := range v.Any {
		some = append(some, valueText(&v.Any[i]))
	}
	return strings.Join(some, " or ")
}

func headerText(h *model.HeaderMatcher) string {
	text := "header " + h.Name + " "
	if h.Invert {
		text += "not "
	}
	switch h.Kind {
	case model.HeaderPresent:
		if !h.Present {
			return text + "absent"
		}
		return text + "present"
	case model.HeaderRange:
		return fmt.Sprintf("%sfrom %d to below %d", text, h.Start, h.End)
	}
	return text + stringText(&h.String)
}

func stringText(s *model.StringMatcher) string {
	if s.Kind == model.MatchRegex {
		return "regex " + regexText(s.Regex)
	}
	return [...]string{"=", "prefix", "suffix", "contains"}[s.Kind] + " " + s.Value
}

// regexText is an expression as it was configured: without what anchors it.
func regexText(r *regexp.Regexp) string {
	if r == nil {
		return ""
	}
	text := r.String()
	if inner, ok := strings.CutPrefix(text, "^(?:"); ok && strings.HasSuffix(inner, ")$") {
		return strings.TrimSuffix(inner, ")$")
	}
	return text
}

// retryText describes a retry policy.
func retryText(r *model.RetryPolicy) string {
	if r == nil {
		return "none"
	}
	names := [...]string{
		"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
		"refused-stream", "retriable-status-codes", "retriable-headers", "cancelled", "deadline-exceeded", "internal",
		"resource-exhausted", "unavailable",
	}
	var on []string
	for i, name := range names {
		if r.On&(1<<i) != 0 {
			on = append(on, name)
		}
	}
	if len(on) == 0 {
		return "none"
	}
	text := fmt.Sprintf("up to %d on %s", r.NumRetries, strings.Join(on, ","))
	if r.PerTryTimeout > 0 {
		text += ", " + duration(r.PerTryTimeout) + " per try"
	}
	return text
}
