package hcm_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
)

// kinds are the values of access_log_type that were logged for a path.
func (p *proxy) kinds() (out []string) {
	_ = p.logs.Flush()
	for line := range strings.Lines(p.out.String()) {
		var entry struct{ Kind, Path string }
		if json.Unmarshal([]byte(line), &entry) == nil {
			out = append(out, entry.Kind+" "+entry.Path)
		}
	}
	return out
}

func kindLog(t *testing.T) []*model.AccessLog {
	t.Helper()
	f, err := format.CompileJSON(map[string]any{"kind": "%ACCESS_LOG_TYPE%", "path": "%REQ(:path)%"}, format.JSONOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return []*model.AccessLog{{Config: &accesslog.File{Path: "/dev/stdout", Format: f}}}
}

func TestAccessLogOptions(t *testing.T) {
	release := make(chan struct{})
	slow := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "slow"})), options{
		clusters: map[string]*model.Cluster{"slow": static("slow", slow)},
		cfg: func(c *model.HTTPConnectionManager) {
			c.AccessLogs, c.LogOnNewRequest, c.AccessLogInterval = kindLog(t), true, 20*time.Millisecond
		},
	})
	c := p.dial()
	c.send(get("/slow"))
	p.eventually("periodic entries", func() bool { return len(p.kinds()) >= 3 })
	close(release)
	c.read("GET")
	p.eventually("last entry", func() bool {
		k := p.kinds()
		return k[0] == "DownstreamStart /slow" && k[1] == "DownstreamPeriodic /slow" && k[len(k)-1] == "DownstreamEnd /slow"
	})
}
