package translate

import (
	"strings"
	"testing"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestLifeCycle(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   *interceptionv1.LifeCycle
		want model.LifeCycle
		err  string
	}{
		{name: "none"},
		{"crash", &interceptionv1.LifeCycle{Persistence: interceptionv1.LifeCycle_UNTIL_STOPPED}, model.LifeCycle{Persistence: model.PersistUntilStopped}, ""},
		{"always", &interceptionv1.LifeCycle{Persistence: interceptionv1.LifeCycle_ALWAYS, BpfFs: "/bpf"}, model.LifeCycle{Persistence: model.PersistAlways, FS: "/bpf"}, ""},
		{"privileges", &interceptionv1.LifeCycle{Privileges: interceptionv1.LifeCycle_ALL}, model.LifeCycle{KeepPrivileges: true}, ""},
		{"unknown privileges", &interceptionv1.LifeCycle{Privileges: 9}, model.LifeCycle{}, "privileges: 9 is neither NEEDED nor ALL"},
		{"unknown", &interceptionv1.LifeCycle{Persistence: 9}, model.LifeCycle{}, "persistence: 9 is none"},
		{"relative", &interceptionv1.LifeCycle{BpfFs: "bpf"}, model.LifeCycle{}, `bpf_fs: "bpf" is not an absolute path`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeInterception(&interceptionv1.Interception{LifeCycle: tt.in})
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), "life_cycle."+tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			if got, err := decodeLifeCycle(tt.in); got != tt.want || err != nil {
				t.Errorf("%+v (%v), want %+v", got, err, tt.want)
			}
		})
	}
}
