package e2e

import (
	"slices"
	"strings"
	"testing"
)

// TestAcceleration has applications that know nothing of it exchange checked bytes in every mode.
func TestAcceleration(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	for _, tc := range []struct {
		name, fields string
		applications bool
		// At least, and at most, this much goes past TCP.
		least, most int
	}{
		{name: "off", fields: "min_operations: 1"},
		{name: "receive", fields: "mode: RECEIVE, applications: [GROUP], min_operations: 1", least: 1 << 20, most: 4 * size},
		{name: "full", fields: "mode: FULL, applications: [GROUP], min_operations: 1", applications: true, least: 1 << 20, most: 8 * size},
		{name: "small limit", fields: "mode: FULL, applications: [GROUP], max_unread_bytes: 65536, min_operations: 3", applications: true, least: 1, most: 8 * size},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newFastHouse(t, tc.fields)
			h.serve(bulkServer, fastTCPPort, "4194304")
			h.serve(echoServer, fastWPort)
			h.bulk(size, size, 2)
			wantOK(t, h.host.App().In(h.group).Python(echoClient, "10.99.0.7", "80", "60"), "ok")
			page := h.page()
			if tc.least == 0 {
				if page.Asked != "" || h.weir.Page("/stats?filter=acceleration") != "" {
					t.Errorf("acceleration is there: %+v", page)
				}
				return
			}
			if page.Bytes < tc.least || page.Messages == 0 || page.Bytes > tc.most+60*4*300_000 || page.Accelerated < 4 || page.Sockets < page.Accelerated {
				t.Errorf("went past TCP: %+v", page)
			}
			// On some kernels only the named applications are taken in, since FIONREAD misleads the others.
			narrow := strings.Contains(page.Why, "FIONREAD")
			if page.Mode != page.Asked || !narrow && page.Why != "" || page.Problem != "" || len(page.Doors) < 2 {
				t.Errorf("status %+v", page)
			}
			want := []string{h.group.Name}
			if captured := !narrow || !tc.applications; captured != slices.Equal(page.Cgroups, want) || tc.applications != slices.Equal(page.Applications, want) {
				t.Errorf("cgroups %q, applications %q", page.Cgroups, page.Applications)
			}
			for name, want := range map[string]int{
				"weir.acceleration.bytes_total": page.Bytes, "weir.acceleration.messages_total": page.Messages,
				"weir.acceleration.accelerated_total": page.Accelerated, "weir.acceleration.sockets_total": page.Sockets,
			} {
				h.weir.AwaitStat(name, func(n int) bool { return n >= want })
			}
			wantContains(t, "explain", h.weir.Page("/weir/explain?format=text&dst="+fastTCP+"&cgroup="+h.group.Name), "acceleration", "past TCP")
			h.weir.AwaitStat("weir.acceleration.active", func(n int) bool { return n <= 1 }) // one to the web server is kept
		})
	}
}
