package mogdb

import (
	"context"
	"errors"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/driver/gaussdb"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// site is one node with its settings.
type site struct {
	gaussdb.Node
	conf
	env     driver.Env
	Address string
}

func siteOf(env driver.Env, name string) (*site, error) {
	n, ok := env.Inventory.Node(name)
	h := env.Hosts[name]
	if !ok || h == nil {
		return nil, say.Errorf("no machine is known for node %q", "节点 %q 没有对应的主机", name)
	}
	return siteFrom(env, n, h), nil
}

func siteFrom(env driver.Env, n cluster.Node, h host.Host) *site {
	c := confOf(n)
	return &site{Node: gaussdb.Node{Name: n.Name, Host: h, Profile: c.Profile}, conf: c, env: env, Address: n.Address}
}

// each calls fn for every index, at once or, where runs must be the same each
// time, one after another.
func each(env driver.Env, n int, fn func(i int)) {
	if env.Serial {
		for i := range n {
			fn(i)
		}
		return
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

// change runs commands that change the machine, one after another.
func (s *site) change(ctx context.Context, argvs ...[]string) error {
	for _, argv := range argvs {
		c := host.Change(argv...)
		c.Timeout = 10 * time.Minute
		if _, err := s.Host.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// text asks for what a command prints.
func (s *site) text(ctx context.Context, argv ...string) (string, error) {
	res, err := s.Host.Run(ctx, host.Read(argv...))
	return res.Text(), err
}

func (s *site) exists(ctx context.Context, name string) (bool, error) {
	return host.Exists(ctx, s.Host, name)
}

// process is a line of ps.
type process struct {
	PID  int
	User string
	Args string
}

// serves reports a server on a data directory. The binary bears the name mogdb
// or gaussdb (spec/mogdb.md section 8).
func (p process) serves(data string) bool {
	w := strings.Fields(p.Args)
	if len(w) == 0 || path.Base(w[0]) != "gaussdb" && path.Base(w[0]) != "mogdb" {
		return false
	}
	for i, a := range w[1:] {
		if a == "-D" && i+2 < len(w) && path.Clean(w[i+2]) == data || a == "-D"+data {
			return true
		}
	}
	return false
}

// mogha reports a part of MogHA: "mogha: watchdog", the program itself, or the
// python or supervisord that runs it (spec/mogdb.md section 6).
func (p process) mogha() bool {
	w := strings.Fields(p.Args)
	if len(w) == 0 {
		return false
	}
	first := path.Base(w[0])
	switch {
	case w[0] == "mogha:", first == "mogha":
		return true
	case strings.HasPrefix(first, "python") || first == "supervisord":
		for _, a := range w[1:] {
			if strings.Contains(path.Base(a), "mogha") || strings.Contains(a, "/mogha/") {
				return true
			}
		}
	}
	return false
}

// clusterManager reports a part of CM, which also starts databases (M04).
func (p process) clusterManager() bool {
	w := strings.Fields(p.Args)
	if len(w) == 0 {
		return false
	}
	switch path.Base(w[0]) {
	case "cm_agent", "cm_server", "om_monitor":
		return true
	}
	return false
}

// processes are all of the machine.
func (s *site) processes(ctx context.Context) ([]process, error) {
	out, err := s.text(ctx, "ps", "-eww", "-o", "pid=,user=,args=")
	if err != nil {
		return nil, err
	}
	return parsePS(out)
}

func parsePS(out string) ([]process, error) {
	var all []process
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, say.Errorf("ps said %q, expected a process number", "ps 的输出为 %q，应为进程号", strings.TrimSpace(line))
		}
		all = append(all, process{pid, f[1], strings.Join(f[2:], " ")})
	}
	return all, nil
}

// server is the process that serves the data directory; 0 when there is none.
func (s *site) server(ctx context.Context) (pid int, err error) {
	all, err := s.processes(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if p.serves(s.Data) {
			return p.PID, nil
		}
	}
	return 0, nil
}

// haState is what there is of MogHA on a node.
type haState struct {
	Unit    bool // systemd knows it
	Active  bool // and says that it is active
	Enabled bool // and would start it with the machine
	Procs   []process
}

// up reports MogHA that may act.
func (h haState) up() bool { return h.Active || len(h.Procs) > 0 }

// word is what the facts of a plan say.
func (h haState) word() string {
	switch {
	case h.up():
		return "active"
	case h.Unit:
		return "inactive"
	}
	return "absent"
}

func (s *site) mogha(ctx context.Context) (haState, error) {
	var h haState
	all, err := s.processes(ctx)
	if err != nil {
		return h, err
	}
	for _, p := range all {
		if p.mogha() {
			h.Procs = append(h.Procs, p)
		}
	}
	if s.Unit == "" {
		return h, nil
	}
	// is-active says "inactive" also for a unit that is not there.
	out, err := s.text(ctx, "systemctl", "show", "-p", "LoadState,ActiveState", s.Unit)
	if host.IsExit(err) {
		return h, nil // no systemd here: processes alone count
	}
	if err != nil {
		return h, err
	}
	for line := range strings.Lines(out) {
		switch strings.TrimSpace(line) {
		case "LoadState=loaded":
			h.Unit = true
		case "ActiveState=active", "ActiveState=activating", "ActiveState=reloading":
			h.Active = true
		}
	}
	if !h.Unit {
		return h, nil
	}
	out, err = s.text(ctx, "systemctl", "is-enabled", s.Unit)
	if host.IsExit(err) {
		return h, nil
	}
	h.Enabled = strings.TrimSpace(out) == "enabled"
	return h, err
}

// release asks the running server for its release.
func (s *site) release(ctx context.Context) (gaussdb.Banner, error) {
	v, err := s.Value(ctx, s.Port, "select version()")
	if err != nil {
		return gaussdb.Banner{}, err
	}
	return gaussdb.ParseBanner(v)
}

// roleWord is a role as inventories, plans and gs_ctl -M write it.
func roleWord(role string) string {
	switch role {
	case gaussdb.RolePrimary, gaussdb.RoleNormal:
		return rolePrimary
	case gaussdb.RoleStandby:
		return roleStandby
	case gaussdb.RoleCascade:
		return roleCascade
	}
	return ""
}

// Words for roles, as gs_ctl -M takes them.
const (
	rolePrimary = "primary"
	roleStandby = "standby"
	roleCascade = "cascade_standby"
)

// whoIs is the state of every node that answers, by name.
func whoIs(ctx context.Context, env driver.Env) map[string]gaussdb.HA {
	names := env.Inventory.Names()
	seen := make([]*gaussdb.HA, len(names))
	each(env, len(names), func(i int) {
		s, err := siteOf(env, names[i])
		if err != nil {
			return
		}
		if h, err := s.Query(ctx, s.Data); err == nil {
			seen[i] = &h
		}
	})
	out := map[string]gaussdb.HA{}
	for i, n := range names {
		if seen[i] != nil {
			out[n] = *seen[i]
		}
	}
	return out
}

// primaryOf is the node that says it is the primary; an error when two do (I3, M21).
func primaryOf(env driver.Env, seen map[string]gaussdb.HA) (string, error) {
	only := ""
	for _, n := range env.Inventory.Names() {
		h, ok := seen[n]
		if !ok || h.Process != gaussdb.Running || !h.Primary() {
			continue
		}
		if only != "" {
			return "", twoPrimaries(only, n)
		}
		only = n
	}
	return only, nil
}

func twoPrimaries(a, b string) error {
	return &say.Problem{
		Text: say.F("two nodes are primary: %s and %s [M21]", "出现两个主库：%s 和 %s［M21］", a, b),
		Next: say.F("write nothing; on the one to be demoted: gs_ctl stop -D DATA, then gs_ctl start -D DATA -M standby; then gs_om -t refreshconf; then: shiplift status",
			"停止写入；在应降级的节点执行 gs_ctl stop -D 数据目录，再执行 gs_ctl start -D 数据目录 -M standby；然后 gs_om -t refreshconf；最后执行：shiplift status"),
	}
}

// isGone reports an error that certainly means: the machine does not answer.
func isGone(err error) bool {
	var gone *host.UnreachableError
	return errors.As(err, &gone)
}

func itoa(n int) string { return strconv.Itoa(n) }
