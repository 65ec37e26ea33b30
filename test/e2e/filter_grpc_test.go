package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

const (
	checkURL = "http://127.0.0.1:8080/grpc.health.v1.Health/Check"
	watchURL = "http://127.0.0.1:8080/grpc.health.v1.Health/Watch"
)

// healthBackend is grpc-go's health service on a host.
func healthBackend(t *testing.T, host *harness.Host, addr string) (*health.Server, netip.AddrPort) {
	t.Helper()
	service := health.NewServer()
	l := host.Listen(addr)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return service, l.Addr().(*net.TCPAddr).AddrPort()
}

// healthService is a host with grpc-go's health service behind a weir with these filters.
func healthService(t *testing.T, filters ...string) (*harness.Host, *harness.Weir, *health.Server) {
	t.Helper()
	host := harness.NewHost(t)
	service, backend := healthBackend(t, host, "127.0.0.1:0")
	page := host.HTTPBackend("page", "127.0.0.1:0", harness.WithHandler("/page/Call", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "try later", http.StatusServiceUnavailable)
	}))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters(filters,
			"route_config: "+harness.RouteConfig("r", harness.RouteTo("/grpc.health", "backend"), harness.RouteTo("/page", "page")),
		))}}.YAML()},
		Clusters: []string{
			harness.Cluster("backend", harness.To(backend), harness.HTTP2()), harness.Cluster("page", harness.To(page.Addr)),
		},
	}.YAML()})
	return host, weir, service
}

// grpcFrame is a message with the head that gRPC gives it.
func grpcFrame(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// readFrame reads a frame of a response.
func readFrame(t *testing.T, r io.Reader) (flag byte, payload []byte) {
	t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatal(err)
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return head[0], payload
}

func post(t *testing.T, c *http.Client, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// wantServing checks a response to a check of health.
func wantServing(t *testing.T, payload []byte) {
	t.Helper()
	var m grpc_health_v1.HealthCheckResponse
	if err := proto.Unmarshal(payload, &m); err != nil || m.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", &m, err)
	}
}

func TestFilterGRPCWeb(t *testing.T) {
	t.Parallel()
	host, weir, service := healthService(t, harness.HTTPFilter("web", harness.HTTPFilterConfig("grpc_web.v3.GrpcWeb")))
	client := host.Client()
	request := grpcFrame(t, &grpc_health_v1.HealthCheckRequest{})
	text := base64.StdEncoding.EncodeToString(request)

	t.Run("binary", func(t *testing.T) {
		resp := post(t, client, checkURL, string(request), "content-type", "application/grpc-web+proto")
		flag, payload := readFrame(t, resp.Body)
		if resp.StatusCode != 200 || resp.Header.Get("content-type") != "application/grpc-web+proto" || flag != 0 {
			t.Errorf("%d %v, flag %d", resp.StatusCode, resp.Header, flag)
		}
		wantServing(t, payload)
		if flag, trailers := readFrame(t, resp.Body); flag != 0x80 || !strings.Contains(string(trailers), "grpc-status:0\r\n") {
			t.Errorf("flag %#x, trailers %q", flag, trailers)
		}
	})
	t.Run("text stream", func(t *testing.T) {
		resp := post(t, client, watchURL, text, "content-type", "application/grpc-web-text", "accept", "application/grpc-web-text")
		decoded := &quanta{r: resp.Body}
		_, payload := readFrame(t, decoded)
		wantServing(t, payload) // it has come although the stream goes on
		service.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		readFrame(t, decoded)
		service.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	})
	t.Run("failure", func(t *testing.T) {
		unknown := string(grpcFrame(t, &grpc_health_v1.HealthCheckRequest{Service: "nowhere"}))
		resp := post(t, client, checkURL, unknown, "content-type", "application/grpc-web")
		if resp.Header.Get("grpc-status") == "" { // in the body then
			if _, trailers := readFrame(t, resp.Body); !strings.Contains(string(trailers), "grpc-status:5\r\n") {
				t.Errorf("trailers %q", trailers)
			}
		} else if resp.Header.Get("grpc-status") != "5" {
			t.Errorf("grpc-status %s", resp.Header.Get("grpc-status"))
		}
	})
	t.Run("bad base64", func(t *testing.T) {
		resp := post(t, client, checkURL, text[:len(text)-1], "content-type", "application/grpc-web-text")
		if resp.StatusCode != 400 || resp.Header.Get("grpc-status") != "13" || !strings.HasPrefix(resp.Header.Get("grpc-message"), "Bad gRPC-web request") {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		wantLog(t, weir, "400 - grpc_base_64_decode_failed_bad_size /grpc.health.v1.Health/Check")
	})
	t.Run("error page", func(t *testing.T) {
		resp := post(t, client, "http://127.0.0.1:8080/page/Call", string(request), "content-type", "application/grpc-web")
		if resp.Header.Get("grpc-status") != "14" || resp.Header.Get("grpc-message") != "try later%0A" {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
	})
	weir.AwaitStat("cluster.backend.grpc-web.grpc.health.v1.Health.Check.success", func(n int) bool { return n == 1 })
	weir.AwaitStat("cluster.backend.grpc-web.grpc.health.v1.Health.Check.5", func(n int) bool { return n == 1 })
}

// quanta decodes base64 that is padded wherever a piece of it ends, as it comes.
type quanta struct {
	r   io.Reader
	out bytes.Buffer
}

func (q *quanta) Read(p []byte) (int, error) {
	if q.out.Len() == 0 {
		var four [4]byte
		if _, err := io.ReadFull(q.r, four[:]); err != nil {
			return 0, err
		}
		b, err := base64.StdEncoding.DecodeString(string(four[:]))
		if err != nil {
			return 0, err
		}
		q.out.Write(b)
	}
	return q.out.Read(p)
}

func TestFilterGRPCHTTP1Bridge(t *testing.T) {
	t.Parallel()
	host, weir, _ := healthService(t, harness.HTTPFilter("bridge", harness.HTTPFilterConfig("grpc_http1_bridge.v3.Config",
		"upgrade_protobuf_to_grpc: true", "ignore_query_parameters: true")))
	client := host.Client()
	good, bad := &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckRequest{Service: "nowhere"}

	resp := post(t, client, checkURL+"?x=1", string(grpcFrame(t, good)), "content-type", "application/grpc", "te", "trailers")
	_, payload := readFrame(t, resp.Body)
	wantServing(t, payload)
	if resp.StatusCode != 200 || resp.Header.Get("grpc-status") != "0" || resp.ContentLength != int64(5+len(payload)) {
		t.Errorf("%d %v, length %d", resp.StatusCode, resp.Header, resp.ContentLength)
	}

	resp = post(t, client, checkURL, string(grpcFrame(t, good)[5:])+"\x0a\x00", "content-type", "application/x-protobuf", "te", "trailers")
	payload, err := io.ReadAll(resp.Body)
	if err != nil || resp.Header.Get("content-type") != "application/x-protobuf" {
		t.Errorf("%v, %v", resp.Header, err)
	}
	wantServing(t, payload)

	resp = post(t, client, checkURL, string(grpcFrame(t, bad)), "content-type", "application/grpc", "te", "trailers")
	if resp.Header.Get("grpc-status") != "5" || resp.Header.Get("grpc-message") == "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	weir.AwaitStat("cluster.backend.grpc.grpc.health.v1.Health.Check.total", func(n int) bool { return n == 3 })
}
