package host

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/shiplift/shiplift/internal/say"
)

// route is where to connect and with what, after ssh_config has been read.
type route struct {
	alias, host string
	port        int
	user        string
	keyName     string // HostKeyAlias
	identities  []string
	asked       bool // the identities were named by the inventory or ssh_config: each must be usable
	only        bool // no other keys of the agent
	known       []string
	agentSocket string
	jump        *SSHConfig
}

func (r route) addr() string { return hostPort(r.host, r.port) }

// name is the name under which known_hosts has the machine's key.
func (r route) name() string {
	if r.keyName != "" {
		return hostPort(r.keyName, 22)
	}
	return r.addr()
}

// resolve fills what the inventory left out.
func resolve(cfg SSHConfig) (route, error) {
	files, err := sshConfigs(cfg.ConfigFile)
	if err != nil {
		return route{}, err
	}
	get := files.get(cfg.Host)
	if cmd := get("ProxyCommand"); cmd != "" && !strings.EqualFold(cmd, "none") {
		return route{}, &say.Problem{
			Place: cfg.Host,
			Text:  say.F("ssh_config asks for a ProxyCommand, which is not supported", "ssh_config 中的 ProxyCommand 不受支持"),
			Next:  say.F("use ProxyJump for %s in ssh_config", "请在 ssh_config 中为 %s 改用 ProxyJump", cfg.Host),
		}
	}
	r := route{alias: cfg.Host, port: cfg.Port, keyName: get("HostKeyAlias"), only: strings.EqualFold(get("IdentitiesOnly"), "yes")}
	r.host = strings.ReplaceAll(first(get("HostName"), cfg.Host), "%h", cfg.Host)
	if r.port == 0 {
		text := first(get("Port"), "22")
		if r.port, err = strconv.Atoi(text); err != nil {
			return route{}, say.Errorf("ssh_config: port %q of %s: %w", "ssh_config：%[2]s 的端口 %[1]q：%[3]w", text, cfg.Host, err)
		}
	}
	if r.user = first(cfg.User, get("User")); r.user == "" {
		u, err := user.Current()
		if err != nil {
			return route{}, say.Errorf("no user is named for %s: %w", "未指定 %s 的用户：%w", cfg.Host, err)
		}
		r.user = u.Username
	}
	r.identities, r.asked = identities(cfg, files)
	r.known = knownHostsFiles(cfg, get("UserKnownHostsFile"))
	if r.agentSocket = first(cfg.AgentSocket, os.Getenv("SSH_AUTH_SOCK")); r.agentSocket == "none" {
		r.agentSocket = ""
	}
	r.jump, err = jump(cfg, first(cfg.ProxyJump, get("ProxyJump")))
	return r, err
}

// jump is the last machine before the target; the ones before it are its own jumps.
func jump(cfg SSHConfig, list string) (*SSHConfig, error) {
	if list == "" || strings.EqualFold(list, "none") {
		return nil, nil
	}
	before, last := "none", list
	if i := strings.LastIndexByte(list, ','); i >= 0 {
		before, last = list[:i], list[i+1:]
	} else {
		before = "" // its own ssh_config may name one
	}
	j := SSHConfig{KnownHosts: cfg.KnownHosts, ConfigFile: cfg.ConfigFile, AgentSocket: cfg.AgentSocket,
		IdentityFile: cfg.IdentityFile, ProxyJump: before}
	last = strings.TrimPrefix(strings.TrimSpace(last), "ssh://")
	if i := strings.LastIndexByte(last, '@'); i >= 0 {
		j.User, last = last[:i], last[i+1:]
	}
	j.Host = last
	if name, port, err := net.SplitHostPort(last); err == nil {
		j.Host = name
		if j.Port, err = strconv.Atoi(port); err != nil {
			return nil, say.Errorf("ProxyJump %q: %w", "ProxyJump %q：%w", list, err)
		}
	}
	if j.Host == cfg.Host {
		return nil, say.Errorf("ProxyJump %q of %s leads back to itself", "%[2]s 的 ProxyJump %[1]q 绕回了自身", list, cfg.Host)
	}
	return &j, nil
}

func identities(cfg SSHConfig, files configs) (paths []string, asked bool) {
	if cfg.IdentityFile != "" {
		return []string{home(cfg.IdentityFile)}, true
	}
	for _, f := range files.all(cfg.Host, "IdentityFile") {
		if f = home(f); exists(f) { // as ssh does: one that is missing is passed over
			paths = append(paths, f)
		}
	}
	if len(paths) > 0 {
		return paths, true
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		if f := home("~/.ssh/" + name); exists(f) {
			paths = append(paths, f)
		}
	}
	return paths, false
}

func knownHostsFiles(cfg SSHConfig, configured string) []string {
	if cfg.KnownHosts != "" {
		return []string{home(cfg.KnownHosts)}
	}
	files := strings.Fields(configured)
	if len(files) == 0 {
		files = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	for i := range files {
		files[i] = home(files[i])
	}
	return append(files, "/etc/ssh/ssh_known_hosts")
}

// signers are the keys to log in with. The agent's connection is closed by the
// caller after the login.
func (r route) signers() ([]ssh.Signer, io.Closer, error) {
	held, conn := r.agentSigners()
	var out []ssh.Signer
	var problem error
	for _, f := range r.identities {
		s, err := identity(f, held)
		switch {
		case err == nil:
			out = append(out, s)
		case r.asked && problem == nil:
			problem = err
		}
	}
	if !r.only && (len(out) == 0 || !r.asked) {
		out = append(out, held...)
	}
	if len(out) > 0 {
		return out, conn, nil
	}
	if conn != nil {
		_ = conn.Close()
	}
	if problem != nil {
		return nil, nil, problem
	}
	return nil, nil, &say.Problem{
		Place: r.alias,
		Text: say.F("there is no key to log in with: no usable identity file and no ssh agent with keys",
			"没有可用于登录的密钥：没有可用的私钥文件，ssh-agent 中也没有密钥"),
		Next: say.F("name one with ssh.identity in the inventory, or load it: ssh-add", "在清单中用 ssh.identity 指定，或执行 ssh-add 加载"),
	}
}

func (r route) agentSigners() ([]ssh.Signer, io.Closer) {
	if r.agentSocket == "" {
		return nil, nil
	}
	conn, err := net.Dial("unix", r.agentSocket)
	if err != nil {
		return nil, nil // an agent that has gone is as good as none
	}
	held, err := agent.NewClient(conn).Signers()
	if err != nil {
		_ = conn.Close()
		return nil, nil
	}
	return held, conn
}

// identity reads a private key; an encrypted one must be in the agent.
func identity(path string, held []ssh.Signer) (ssh.Signer, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, &say.Problem{
			Place: path,
			Text:  say.F("cannot read the ssh identity file", "无法读取 ssh 私钥文件"),
			Next:  say.Same("ls -l " + quoteWord(path)),
			Err:   err,
		}
	}
	s, err := ssh.ParsePrivateKey(pem)
	if err == nil {
		return s, nil
	}
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		return nil, &say.Problem{
			Place: path,
			Text:  say.F("this is not a private key that ssh can use", "该文件不是 ssh 可用的私钥"),
			Next:  say.Same("ssh-keygen -y -f " + quoteWord(path)),
			Err:   err,
		}
	}
	pub := locked.PublicKey
	if text, err := os.ReadFile(path + ".pub"); err == nil && pub == nil {
		pub, _, _, _, _ = ssh.ParseAuthorizedKey(text)
	}
	for _, h := range held {
		if pub != nil && slices.Equal(h.PublicKey().Marshal(), pub.Marshal()) {
			return h, nil
		}
	}
	return nil, &say.Problem{
		Place: path,
		Text:  say.F("the ssh identity file has a passphrase and is not in the ssh agent", "ssh 私钥文件有口令保护，且未加载到 ssh-agent"),
		Next:  say.Same("ssh-add " + quoteWord(path)),
		Err:   err,
	}
}

// configs are the ssh_config files, the user's before the system's.
type configs []*ssh_config.Config

func sshConfigs(named string) (configs, error) {
	if named != "" {
		c, err := readConfig(home(named))
		if err != nil {
			return nil, err
		}
		return configs{c}, nil
	}
	var out configs
	c, err := readConfig(home("~/.ssh/config"))
	if err == nil {
		out = append(out, c)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// The system's file often holds Match blocks about crypto policies, which
	// the parser does not know; nothing in it says where a machine is.
	if c, err := readConfig("/etc/ssh/ssh_config"); err == nil {
		out = append(out, c)
	}
	return out, nil
}

func readConfig(path string) (*ssh_config.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := ssh_config.Decode(f)
	if err != nil {
		return nil, &say.Problem{
			Place: path,
			Text:  say.F("cannot read this ssh_config", "无法解析该 ssh_config"),
			Next: say.F("name another one with ssh.config in the inventory, with plain Host blocks",
				"在清单中用 ssh.config 指定另一个只含 Host 段的文件"),
			Err: err,
		}
	}
	return c, nil
}

func (cs configs) get(alias string) func(key string) string {
	return func(key string) string {
		for _, c := range cs {
			if v, err := c.Get(alias, key); err == nil && v != "" {
				return v
			}
		}
		return ""
	}
}

func (cs configs) all(alias, key string) []string {
	var out []string
	for _, c := range cs {
		v, _ := c.GetAll(alias, key)
		out = append(out, v...)
	}
	return out
}

// home replaces a leading ~/ by the login's home and takes quotes off.
func home(path string) string {
	path = strings.Trim(path, `"`)
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	return filepath.Join(dir, rest)
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
