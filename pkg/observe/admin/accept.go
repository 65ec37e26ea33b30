package admin

import (
	"strconv"
	"strings"
)

// typeOpenMetrics is the content type of OpenMetrics 1.0.
const typeOpenMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"

// wantsOpenMetrics tells whether an Accept header (RFC 9110 section 12.5.1) asks for OpenMetrics and not for plain text.
// Prometheus takes both and gets the text, as from Envoy: in OpenMetrics most of Envoy's counters are of no known type, since
// their names do not end in "_total".
func wantsOpenMetrics(accept string) bool {
	open := false
	for part := range strings.SplitSeq(accept, ",") {
		media, params, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "application/openmetrics-text":
			open = open || weight(params) > 0
		case "text/plain", "text/*":
			if weight(params) > 0 {
				return false
			}
		}
	}
	return open
}

// weight is the parameter q, 1 without one.
func weight(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
