package decisions

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func textEvents() map[string]*Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return map[string]*Event{
		"connect": {
			Time: at, Direction: "outbound", Protocol: "tcp", Verdict: "redirect", Reason: "captured", PID: 123456, Command: "python3.11",
			Container: "0123456789ab", Namespace: "net:[4026532345]", Destination: "10.99.0.1:80", Listener: "outbound_10.99.0.1_80",
		},
		"offload": {
			Time: at, Direction: "outbound", Protocol: "tcp", Verdict: "offload", Reason: "offloaded", PID: 1234, Command: "curl",
			Container: "kubepods-burstable-pod1", Destination: "[2001:db8:85a3::8a2e:370:7334]:443", Listener: "fast", Service: "fast",
			Endpoint: "[2001:db8:85a3::8a2e:370:9999]:8443",
		},
		"datagram": {
			Time: at, Direction: "outbound", Protocol: "udp", Verdict: "redirect", Reason: "captured", PID: 8, Command: "dig",
			Destination: "192.0.2.1:53", Listener: "dns", Again: true,
		},
		"inbound": {
			Time: at, Direction: "inbound", Protocol: "tcp", Verdict: "refuse", Reason: "policy_denied", PID: 4711, Command: "nginx",
			Container: "0123456789ab", Source: "[2001:db8:85a3::8a2e:370:7334]:53211", Destination: "[2001:db8:85a3::8a2e:370:1]:443", Listener: "virtualInbound",
		},
		"control characters": {
			Time: at, Direction: "outbound", Protocol: "tcp", Verdict: "pass", Reason: "no_rule", PID: 1, Command: "a\x1b[2J\nb", Container: "c\r", Destination: "10.0.0.1:1",
		},
	}
}

// TestTextWithin shortens events for terminals.
func TestTextWithin(t *testing.T) {
	want := map[string][3]string{ // in 80, 120 and 300 columns
		"connect": {
			"03:04:05 redirect tcp out python3.11/123456 01234567 > 10.99.0.1:80: captured",
			"03:04:05.678 redirect tcp out python3.11/123456 0123456789ab > 10.99.0.1:80: captured, listener outbound_10.99.0.1_80",
			"03:04:05.678901 redirect tcp out python3.11/123456 0123456789ab (net:[4026532345]) > 10.99.0.1:80: captured, listener outbound_10.99.0.1_80",
		},
		"offload": {
			"03:04:05 offload  tcp out curl/1234 > [2001:db8:\u2026:7334]:443: offloaded",
			"03:04:05.678 offload  tcp out curl/1234 kubepods-bu\u2026 > [2001:db8:\u2026:7334]:443: offloaded, endpoint [2001:db8:\u20269999]:8443",
			"03:04:05.678901 offload  tcp out curl/1234 kubepods-burstable-pod1 > [2001:db8:85a3::8a2e:370:7334]:443: offloaded, listener fast, service fast, endpoint [2001:db8:85a3::8a2e:370:9999]:8443",
		},
		"datagram": {
			"03:04:05 redirect udp out dig/8 > 192.0.2.1:53: captured, listener dns, again",
			"03:04:05.678 redirect udp out dig/8 > 192.0.2.1:53: captured, listener dns, again",
			"03:04:05.678901 redirect udp out dig/8 > 192.0.2.1:53: captured, listener dns, again",
		},
		"inbound": {
			"03:04:05 refuse   tcp in  [2001:db8:\u2026334]:53211 > nginx/4711 :443: policy_denied",
			"03:04:05.678 refuse   tcp in  [2001:db8:\u2026334]:53211 > nginx/4711 01234567 [2001:db8:85a3::8a2e:370:1]:443: policy_denied",
			"03:04:05.678901 refuse   tcp in  [2001:db8:85a3::8a2e:370:7334]:53211 > nginx/4711 0123456789ab [2001:db8:85a3::8a2e:370:1]:443: policy_denied, listener virtualInbound",
		},
		"control characters": {
			"03:04:05 pass     tcp out a?[2J?b/1 c? > 10.0.0.1:1: no_rule", "03:04:05.678 pass     tcp out a?[2J?b/1 c? > 10.0.0.1:1: no_rule",
			"03:04:05.678901 pass     tcp out a?[2J?b/1 c? > 10.0.0.1:1: no_rule",
		},
	}
	for name, e := range textEvents() {
		t.Run(name, func(t *testing.T) {
			for i, columns := range []int{80, 120, 300} {
				if got := e.TextWithin(columns); got != want[name][i] {
					t.Errorf("in %d columns:\n%s\nwant\n%s", columns, got, want[name][i])
				}
			}
			for columns := range 300 {
				if got := e.TextWithin(columns); utf8.RuneCountInString(got) > max(columns, 1) || strings.ContainsAny(got, "\n\x1b") {
					t.Errorf("in %d columns: %q", columns, got)
				}
			}
			if got := e.TextWithin(300); got != e.Text() {
				t.Errorf("%q is shortened without need, to %q", e.Text(), got)
			}
		})
	}
}
