package translate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter/network/connectionlimit"
	"github.com/weir-proxy/weir/pkg/proxy/filter/network/rbac"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	engine "github.com/weir-proxy/weir/pkg/proxy/rbac"
	"github.com/weir-proxy/weir/test/golden"
)

// testTranslator knows fakes of the extensions that other packages own, and files that exist in memory only.
func testTranslator(t testing.TB) *Translator {
	t.Helper()
	text := func(m proto.Message) (any, error) { return fmt.Sprint(m.(*wrapperspb.StringValue).GetValue()), nil }
	named := func(name string) func(proto.Message) (any, error) {
		return func(proto.Message) (any, error) { return name, nil }
	}
	registry, err := extension.NewRegistry(slices.Concat(matcher.Factories(), []extension.Factory{
		rbac.Factory(), connectionlimit.Factory(),
		{Category: extension.HTTPFilters, Name: "envoy.filters.http.router", Aliases: []string{"envoy.router"}, Config: &routerv3.Router{}, Decode: named("router")},
		{Category: extension.HTTPFilters, AlsoIn: []string{extension.UpstreamHTTPFilters}, Name: "echo", Config: &wrapperspb.StringValue{}, Decode: text, PerRoute: &wrapperspb.StringValue{}, DecodePerRoute: text},
		{Category: extension.UpstreamHTTPFilters, Name: "envoy.filters.http.upstream_codec", Config: &codecv3.UpstreamCodec{}, Decode: named("codec"), Terminal: true},
		{Category: extension.ListenerFilters, Name: "envoy.filters.listener.tls_inspector", Aliases: []string{"envoy.listener.tls_inspector"}, Config: &inspectorv3.TlsInspector{}, Decode: named("tls_inspector")},
		{Category: extension.AccessLoggers, Name: "envoy.access_loggers.file", Aliases: []string{"envoy.file_access_log"}, Config: &filev3.FileAccessLog{}, Decode: func(m proto.Message) (any, error) { return "file " + m.(*filev3.FileAccessLog).GetPath(), nil }},
		{Category: extension.StatsSinks, Name: "sink", Config: &wrapperspb.StringValue{}, Decode: text},
		{Category: extension.EarlyHeaderMutations, Name: "early", Config: &wrapperspb.StringValue{}, Decode: text},
		{Category: extension.OriginalIPDetections, Name: "origin", Config: &wrapperspb.StringValue{}, Decode: text},
	})...)
	if err != nil {
		t.Fatal(err)
	}
	files := testFiles(t)
	tr, err := New(Options{
		Registry: registry,
		CheckFormat: func(s string) error {
			_, err := format.Compile(s)
			return err
		},
		DecodeMatcher: func(m *xdsmatcherv3.Matcher, r decode.TreeReader) (any, error) { return matcher.Decode(m, r) },
		DecodeAccessLogFilter: func(f *accesslogv3.AccessLogFilter) (any, error) {
			c := f.GetStatusCodeFilter().GetComparison()
			return fmt.Sprintf("%T %s %d %s", f.GetFilterSpecifier(), c.GetOp(), c.GetValue().GetDefaultValue(), c.GetValue().GetRuntimeKey()), nil
		},
		DecodeFormat: func(f *corev3.SubstitutionFormatString) (any, error) {
			if f.GetTextFormat() == "bad" {
				return nil, errors.New("compile format: it is bad")
			}
			return fmt.Sprintf("format %s%v, omit empty: %v", f.GetTextFormat(), f.GetJsonFormat().AsMap(), f.GetOmitEmptyValues()), nil
		},
		ReadFile: func(path string) ([]byte, error) {
			if b, ok := files[path]; ok {
				return b, nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
		LookupEnv: func(name string) (string, bool) { return "secret", name == "TOKEN" },
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// testFiles makes a certificate, which is its own authority, its key, and a key of something else.
func testFiles(t testing.TB) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private := func(k *ecdsa.PrivateKey) []byte {
		b, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return map[string][]byte{"cert.pem": cert, "ca.pem": cert, "key.pem": private(key), "otherkey.pem": private(other)}
}

// TestGolden translates every testdata/*.yaml and compares the model, warnings and errors with the file beside it.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(input), func(t *testing.T) {
			b := &bootstrapv3.Bootstrap{}
			if _, err := protoyaml.DecodeFile(input, b, protoyaml.Options{SkipValidation: true}); err != nil {
				t.Fatal(err)
			}
			static, warnings, err := testTranslator(t).Bootstrap(b, Meta{})
			var out bytes.Buffer
			for _, e := range FieldErrors(err) {
				fmt.Fprintf(&out, "error: %v\n", e)
			}
			for _, w := range warnings {
				fmt.Fprintf(&out, "warning: %v\n", w)
			}
			if err == nil {
				more, err := static.Group().References()
				for _, e := range FieldErrors(err) {
					fmt.Fprintf(&out, "reference error: %v\n", e)
				}
				for _, w := range more {
					fmt.Fprintf(&out, "reference warning: %v\n", w)
				}
				dump(&out, reflect.ValueOf(static), "")
			}
			golden.Check(t, strings.TrimSuffix(input, ".yaml")+".golden", out.Bytes())
		})
	}
}

// dump writes every field that is not its zero value, one a line. Hashes and other things that change from run to run are
// left out.
func dump(w *bytes.Buffer, v reflect.Value, indent string) {
	switch x := v.Interface().(type) {
	case *regexp.Regexp:
		fmt.Fprintf(w, " %s\n", x)
		return
	case *matcher.Tree:
		fmt.Fprintf(w, " %q\n", strings.Split(x.String(), "\n"))
		return
	case *engine.Engine:
		fmt.Fprintf(w, " %q\n", x)
		return
	case *x509.CertPool:
		fmt.Fprintf(w, " pool\n")
		return
	case *tls.Certificate:
		fmt.Fprintf(w, " certificate of %s\n", x.Leaf.Subject.CommonName)
		return
	case netip.Addr, netip.AddrPort, netip.Prefix, time.Duration:
		fmt.Fprintf(w, " %v\n", x)
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		dump(w, v.Elem(), indent)
	case reflect.Struct:
		fmt.Fprintln(w)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() || name == "Hash" || name == "RootsPEM" {
				continue
			}
			fmt.Fprintf(w, "%s%s:", indent, name)
			dump(w, v.Field(i), indent+"  ")
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(w, " %q\n", v.Interface())
			return
		}
		fmt.Fprintln(w)
		for i := range v.Len() {
			fmt.Fprintf(w, "%s-", indent)
			if !v.Index(i).IsValid() || (v.Index(i).Kind() == reflect.Interface && v.Index(i).IsNil()) {
				fmt.Fprintln(w, " null")
				continue
			}
			dump(w, v.Index(i), indent+"  ")
		}
	case reflect.Map:
		fmt.Fprintln(w)
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			fmt.Fprintf(w, "%s%s:", indent, k)
			if e := v.MapIndex(k); e.Kind() == reflect.Interface && e.IsNil() {
				fmt.Fprintln(w, " null")
			} else {
				dump(w, e, indent+"  ")
			}
		}
	default:
		fmt.Fprintf(w, " %v\n", v.Interface())
	}
}
