package agent

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/datagram"
	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
)

var updateStatistics = flag.Bool("update-statistics", false, "rewrite the tables of reasons in docs/statistics.md")

const statisticsDoc = "../../docs/statistics.md"

// reasonTexts collects reasons from number 1 until one has no name.
func reasonTexts[R interface {
	~uint32
	String() string
	Text() string
}]() map[string]string {
	texts := make(map[string]string)
	for r := R(1); !strings.HasPrefix(r.String(), "reason_"); r++ {
		texts[r.String()] = r.Text()
	}
	return texts
}

// TestStatisticsDoc compares the tables of reasons in docs/statistics.md with the reasons that there are.
func TestStatisticsDoc(t *testing.T) {
	doc, err := os.ReadFile(statisticsDoc)
	if err != nil {
		t.Fatal(err)
	}
	text := string(doc)
	for scope, texts := range map[string]map[string]string{
		"weir.interception": reasonTexts[intercept.Reason](), "weir.interception.udp": reasonTexts[datagram.Reason](), "weir.inbound": inbound.ReasonTexts(),
	} {
		var want strings.Builder
		want.WriteString("| Name | Meaning |\n|---|---|\n")
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			fmt.Fprintf(&want, "| `%s.%s` | %s |\n", scope, name, texts[name])
		}
		head, rest, found := strings.Cut(text, "<!-- "+scope+" -->\n")
		got, tail, ended := strings.Cut(rest, "<!-- end -->\n")
		if !found || !ended || len(texts) < 10 {
			t.Fatalf("%s: no table, or only %d reasons", scope, len(texts))
		}
		if got != want.String() {
			if !*updateStatistics {
				t.Errorf("%s has for %s\n%s\nwant (-update-statistics writes it)\n%s", statisticsDoc, scope, got, want.String())
			}
			text = head + "<!-- " + scope + " -->\n" + want.String() + "<!-- end -->\n" + tail
		}
	}
	if *updateStatistics {
		if err := os.WriteFile(statisticsDoc, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
