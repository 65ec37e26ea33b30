package translate

import (
	"fmt"
	"path/filepath"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// decodeLifeCycle translates an interceptionv1.LifeCycle; nil is the default one.
func decodeLifeCycle(l *interceptionv1.LifeCycle) (model.LifeCycle, error) {
	out := model.LifeCycle{FS: l.GetBpfFs()}
	switch p := l.GetPersistence(); p {
	case interceptionv1.LifeCycle_PROCESS:
	case interceptionv1.LifeCycle_UNTIL_STOPPED:
		out.Persistence = model.PersistUntilStopped
	case interceptionv1.LifeCycle_ALWAYS:
		out.Persistence = model.PersistAlways
	default:
		return out, fmt.Errorf("persistence: %d is none", p)
	}
	switch p := l.GetPrivileges(); p {
	case interceptionv1.LifeCycle_NEEDED:
	case interceptionv1.LifeCycle_ALL:
		out.KeepPrivileges = true
	default:
		return out, fmt.Errorf("privileges: %d is neither NEEDED nor ALL", p)
	}
	if out.FS != "" && !filepath.IsAbs(out.FS) {
		return out, fmt.Errorf("bpf_fs: %q is not an absolute path", out.FS)
	}
	return out, nil
}
