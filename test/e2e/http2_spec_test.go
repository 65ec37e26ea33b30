package e2e

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// specModule pins h2spec.
const specModule = "../../tools/h2spec/go.mod"

// allCases is how many h2spec 2.2.1 has without the strict ones, at least.
const allCases = 140

// specTimeout is how many seconds h2spec waits for an answer; its own 2 are too few for a host that is busy with other tests.
const specTimeout = "15"

// specRun is one run of h2spec over one part of its cases.
type specRun struct {
	part, port string
	flags      []string
}

// TestHTTP2Spec runs every case of h2spec against a listener, in the clear and over TLS; strict also those that RFC 9113 only
// recommends.
func TestHTTP2Spec(t *testing.T) {
	t.Parallel()
	path, err := exec.Command("go", "tool", "-n", "-modfile="+specModule, "h2spec").Output()
	if err != nil {
		t.Fatalf("build h2spec: %v", err)
	}
	// The first name is printed before the tool is built, the second when it is there.
	if path, err = exec.Command("go", "tool", "-n", "-modfile="+specModule, "h2spec").Output(); err != nil {
		t.Fatalf("find h2spec: %v", err)
	}
	host, ca := harness.NewHost(t), harness.NewCA(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("0123456789abcdef", 8)) // long enough for the cases on windows
	}))
	chain := func(codec string, more ...string) []string {
		manager := harness.HTTPManager("codec_type: "+codec, "route_config: "+harness.RouteConfig("local_route", harness.RouteTo("/", "backend")))
		return []string{harness.Chain(manager, more...)}
	}
	certificate := harness.Certificates(ca.Issue("spec.test")) + `, alpn_protocols: [h2, "http/1.1"]`
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "plain", Address: "127.0.0.1:8080", Chains: chain("HTTP2")}.YAML(),
			harness.Listener{Name: "tls", Address: "127.0.0.1:8443", Chains: chain("AUTO", harness.DownstreamTLS(certificate))}.YAML(),
		},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	for name, run := range map[string]specRun{
		"plain":      {port: "8080"},
		"strict":     {port: "8080", flags: []string{"--strict"}},
		"tls":        {port: "8443", flags: []string{"--tls", "--insecure"}},
		"tls strict": {port: "8443", flags: []string{"--tls", "--insecure", "--strict"}},
	} {
		cases := 0
		for _, part := range []string{"generic", "http2", "hpack"} {
			run.part = part
			t.Run(name+" "+part, func(t *testing.T) { cases += runSpec(t, host.App(), strings.TrimSpace(string(path)), run) })
		}
		if cases < allCases {
			t.Errorf("%s: only %d cases were run", name, cases)
		}
	}
}

// runSpec fails with the cases that failed, and returns how many there were.
func runSpec(t *testing.T, app harness.App, tool string, run specRun) int {
	report := filepath.Join(harness.Dir(t), "report.xml")
	args := append([]string{tool, run.part, "-h", "127.0.0.1", "-p", run.port, "-o", specTimeout, "-j", report}, run.flags...)
	got := app.Run(args...)
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("h2spec ended with %d and without a report: %v\n%s%s", got.Status, err, got.Out, got.Err)
	}
	cases, failed := readSpec(t, text)
	for _, f := range failed {
		t.Error(f)
	}
	if got.Status != 0 && failed == nil {
		t.Errorf("h2spec ended with %d\n%s%s", got.Status, got.Out, got.Err)
	}
	t.Logf("%d cases", cases)
	return cases
}

// readSpec gives the number of cases in a report and those that failed or were skipped, in words.
func readSpec(t *testing.T, text []byte) (cases int, failed []string) {
	var report struct {
		Suites []struct {
			Package string `xml:"package,attr"`
			Cases   []struct {
				Class   string  `xml:"classname,attr"`
				Failure *string `xml:"failure"`
				Error   *string `xml:"error"`
				Skipped *string `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &report); err != nil {
		t.Fatalf("read h2spec's report: %v", err)
	}
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			cases++
			for _, bad := range []*string{c.Failure, c.Error, c.Skipped} {
				if bad != nil {
					failed = append(failed, fmt.Sprintf("%s: %s\n%s", suite.Package, c.Class, *bad))
				}
			}
		}
	}
	return cases, failed
}
