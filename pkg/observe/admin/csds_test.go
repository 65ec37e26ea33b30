package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/test/golden"
)

func TestClientStatus(t *testing.T) {
	s := newServer(t, newFake(t), nil)
	post := func(body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, clientStatusPath, strings.NewReader(body)))
		return w
	}
	w := post("")
	golden.Check(t, "testdata/client_status.json", w.Body.Bytes())
	if w.Code != 200 || w.Header().Get("Content-Type") != typeJSON || strings.Contains(w.Body.String(), secretBytes[:16]) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var response statusv3.ClientStatusResponse
	if err := protojson.Unmarshal(w.Body.Bytes(), &response); err != nil {
		t.Fatal(err)
	}
	if c := response.GetConfig()[0]; c.GetNode().GetId() != "n1" || len(c.GetGenericXdsConfigs()) != 2 {
		t.Errorf("%v", c)
	}
	if w := post(`{"exclude_resource_contents": true, "node": {"id": "asker"}}`); w.Code != 200 || strings.Contains(w.Body.String(), `"xds_config"`) {
		t.Errorf("contents were not left out: %d %s", w.Code, w.Body)
	}
	for body, want := range map[string]string{
		`{"node_matchers": [{}]}`: "node_matchers are not supported: there is only this node\n",
		`{"node": 1}`:             "read request: ",
		`{`:                       "read request: ",
	} {
		if w := post(body); w.Code != 400 || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%s: %d %q", body, w.Code, w.Body)
		}
	}
}
