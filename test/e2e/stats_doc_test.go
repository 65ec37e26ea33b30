package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestOwnStatsAreDocumented starts all parts of the kernel's half, and looks for each name that begins with weir. in the document.
func TestOwnStatsAreDocumented(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	doc, err := os.ReadFile("../../docs/statistics.md")
	if err != nil {
		t.Fatal(err)
	}
	host := harness.NewHost(t)
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{virtualInbound(""), udpListener("dns", "10.99.0.1:53", true, "cluster: inbound"), plainTCP("fast", "10.99.0.2:80", "inbound")},
			Clusters:  []string{harness.OriginalDstCluster("inbound")},
		}.YAML(),
		Capture: []*harness.Cgroup{harness.NewCgroup(t)}, Interception: "acceleration: {mode: FULL, applications: [weir-e2e-none]}",
	})
	names := 0
	for line := range strings.Lines(weir.Page(`/stats?filter=^weir\.`)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name == "" {
			continue
		}
		names++
		family := name[:strings.LastIndexByte(name, '.')] + ".REASON"
		if !strings.Contains(string(doc), "`"+name+"`") && !strings.Contains(string(doc), "`"+family+"`") {
			t.Errorf("docs/statistics.md has nothing about %s", name)
		}
	}
	if names < 50 {
		t.Errorf("only %d statistics of weir's own", names)
	}
}
