package admin

import (
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

func TestGoogleCredentials(t *testing.T) {
	boot := &bootstrapv3.Bootstrap{}
	text := strings.ReplaceAll(`{dynamic_resources: {ads_config: {api_type: GRPC, grpc_services: [{google_grpc: {target_uri: x, stat_prefix: x,
		channel_credentials: {ssl_credentials: {root_certs: {inline_string: public}, private_key: {inline_string: SECRET}}},
		call_credentials: [{access_token: SECRET}, {google_refresh_token: SECRET}, {service_account_jwt_access: {json_key: SECRET, token_lifetime_seconds: 7}},
			{google_iam: {authorization_token: SECRET, authority_selector: seen}}]}}]}}}`, "SECRET", secretBytes)
	if _, err := protoyaml.Decode([]byte(text), "test", boot, protoyaml.Options{SkipValidation: true}); err != nil {
		t.Fatal(err)
	}
	before := proto.Clone(boot)
	out, err := printable(redacted(boot))
	if err != nil {
		t.Fatal(err)
	}
	got := string(out)
	if strings.Contains(got, secretBytes[:16]) || strings.Count(got, redactedText) != 5 {
		t.Errorf("%s", got)
	}
	for _, want := range []string{"public", `"token_lifetime_seconds":"7"`, "seen"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if !proto.Equal(boot, before) {
		t.Error("what is shown was changed itself")
	}
}
