package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/cluster"
	"github.com/shiplift/shiplift/internal/driver"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/journal"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

// readTries is how often a command that only reads is repeated over a broken link.
const readTries = 2

// clock is the drivers' clock. Tests on a simulated lab let it run as fast as the lab's.
var clock wait.Clock = wait.Real{}

// room is what a verb works in: the cluster, its machines, its driver and
// where its journals lie.
type room struct {
	app     *app
	inv     *cluster.Inventory
	driver  driver.Driver
	hosts   host.Set // audited, redacted; not fenced: changes go through the lease's
	env     driver.Env
	store   journal.Store
	self    journal.Self
	secrets *host.Secrets
	audit   *auditLog
}

// enter reads the inventory and prepares the machines; nothing is dialled yet.
func (a *app) enter(verb string) (*room, error) {
	inv, err := cluster.Read(a.flags.inventory, keysOf)
	if err != nil {
		return nil, &usageError{err}
	}
	return a.enterWith(inv, verb)
}

// enterWith is enter with an inventory that was read already.
func (a *app) enterWith(inv *cluster.Inventory, verb string) (*room, error) {
	if d := a.flags.driver; d != "" && d != inv.Driver {
		return nil, usage("--driver", say.F("%s is asked for, but %s says driver: %s", "要求的驱动为 %s，但 %s 中为 driver: %s", d, inv.Path, inv.Driver),
			say.F("leave --driver away or name another inventory with -c FILE", "去掉 --driver，或用 -c FILE 指定其他清单"))
	}
	r := &room{app: a, inv: inv, driver: drivers[inv.Driver], secrets: &host.Secrets{}}
	err := r.findStore()
	if err != nil {
		return nil, err
	}
	if r.self, err = journal.Myself(userName(), engine()); err != nil {
		return nil, err
	}
	if err := r.connect(verb); err != nil {
		return nil, err
	}
	r.env = driver.Env{Hosts: r.hosts, Inventory: inv, Clock: clock, Secret: r.secret}
	return r, nil
}

func (r *room) findStore() error {
	dir := r.app.flags.stateDir
	if dir == "" {
		var err error
		if dir, err = journal.DefaultDir(r.app.getenv); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return say.Errorf("state directory: %w", "状态目录：%w", err)
	}
	r.store = journal.Store{Dir: dir, Cluster: r.inv.ID(), Clock: wait.Real{}}
	return nil
}

// userName is the operator's name, as a lease and a report show it.
func userName() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint("uid ", os.Getuid())
}

func (r *room) connect(verb string) error {
	set, err := host.Connect(r.inv, host.SSHConfig{})
	if err != nil {
		return &usageError{err}
	}
	r.audit = &auditLog{dir: filepath.Join(r.store.Dir, r.store.Cluster, "log"), verb: verb}
	if r.app.flags.verbose {
		r.app.screen.Live = false // the commands would run through the drawing
		r.audit.show = func(e host.Entry) { r.app.screen.Talk(say.Same(commandLine(e))) }
	}
	r.hosts = set.Wrap(func(h host.Host) host.Host {
		h = host.Redact(host.Retry(h, wait.Real{}, readTries), r.secrets)
		return host.Audit(h, wait.Real{}, r.audit, r.secrets)
	})
	return nil
}

// leave gives back what enter took.
func (r *room) leave() {
	_ = r.hosts.Close() // the connections only; what was done is recorded already
	r.audit.close()
}

// secret reads a password from where the inventory points: NAME_env names a
// variable, NAME_file a file beside the inventory or anywhere.
func (r *room) secret(node, setting string) (string, error) {
	n, ok := r.inv.Node(node)
	if !ok {
		return "", say.Errorf("secret of node %q, which the inventory does not have", "清单中没有节点 %q，却为其提供了口令", node)
	}
	if name := n.Settings[setting+"_env"]; name != "" {
		value := r.app.getenv(name)
		if value == "" {
			return "", &say.Problem{
				Place: node, Text: say.F("the variable %s is empty; settings.%s_env points to it", "环境变量 %s 为空；settings.%s_env 指向它", name, setting),
				Next: say.Same("export " + name + "=…"),
			}
		}
		r.secrets.Add(value)
		return value, nil
	}
	file := n.Settings[setting+"_file"]
	if file == "" {
		return "", nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(filepath.Dir(r.inv.Path), file)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return "", &say.Problem{Place: node, Text: say.F("cannot read the file of settings.%s_file", "无法读取 settings.%s_file 所指的文件", setting), Err: err, Next: say.Same("ls -l " + quote(file))}
	}
	value := strings.TrimRight(string(body), "\r\n")
	r.secrets.Add(value)
	return value, nil
}

// observe reads the cluster; with nothing readable at all there is nothing to go on.
func (r *room) observe(ctx context.Context) (driver.Observation, error) {
	o, err := r.driver.Observe(ctx, r.env)
	if err != nil {
		return o, err
	}
	return o, context.Cause(ctx)
}

// auditLog keeps every command of a call in one file, made when the first one
// runs. A log that cannot be written never stops the work: the journal does.
type auditLog struct {
	dir, verb string
	show      func(host.Entry)

	mu   sync.Mutex
	file *os.File
	gone bool
}

// Record writes one line.
func (l *auditLog) Record(e host.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.show != nil {
		l.show(e)
	}
	if l.file == nil && !l.gone {
		l.open()
	}
	if l.file == nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	if err != nil {
		l.gone = true
		_ = l.file.Close()
		l.file = nil
	}
}

func (l *auditLog) open() {
	err := os.MkdirAll(l.dir, 0o700)
	if err == nil {
		name := fmt.Sprintf("%s-%s-%d.jsonl", time.Now().UTC().Format("20060102T150405Z"), l.verb, os.Getpid())
		l.file, err = os.OpenFile(filepath.Join(l.dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	}
	l.gone = err != nil
}

func (l *auditLog) path() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return ""
	}
	return l.file.Name()
}

func (l *auditLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file, l.gone = nil, true
}

// commandLine shows a command as -v does: without the fence around it.
func commandLine(e host.Entry) string {
	what := e.Dial
	if len(e.Argv) > 0 {
		argv := e.Argv
		if len(argv) > 6 && argv[0] == "sh" && argv[3] == "shiplift-fence" {
			argv = argv[6:]
		}
		words := make([]string, len(argv))
		for i, w := range argv {
			if len(w) > 120 {
				w = w[:120] + "…"
			}
			words[i] = quote(w)
		}
		what = "$ " + strings.Join(words, " ")
	}
	line := fmt.Sprintf("%s %s  [%s %s]", e.Node, what, e.Outcome, e.Took.Round(time.Millisecond))
	if e.Outcome == "exit" {
		line = fmt.Sprintf("%s %s  [exit %d]", e.Node, what, e.Code)
	}
	return line
}

// isMissing reports whether err says that a file is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
