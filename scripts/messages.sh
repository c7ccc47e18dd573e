# shellcheck shell=bash disable=SC2034,SC2154 # The scripts share variables across files.
# The one table of messages: KEY, English, Portuguese. Both have the same %s in the same order;
# tests/scripts/messages.bats checks that, and that no key is missing or without use.

declare -A messages=()

message() {
    case $language in
        pt) messages[$1]=$3 ;;
        *) messages[$1]=$2 ;;
    esac
}

# What goes wrong with a command line.
message see_help 'see ./%s --help' 'veja ./%s --help'
message no_such_option '%s is no option here' '%s não é uma opção daqui'
message no_such_verb '%s is no verb here' '%s não é um verbo daqui'
message option_needs_value '%s needs a value' '%s precisa de um valor'
message option_needs_number '%s needs a whole number from 1, not "%s"' \
    '%s precisa de um número inteiro a partir de 1, e não "%s"'
message one_value '%s takes one value; put it in quotes' '%s recebe um valor; ponha-o entre aspas'
message too_many '%s takes no more arguments' '%s não recebe mais argumentos'
message wants_name '%s wants one NAME; see ./run.sh --help' '%s quer um NOME; veja ./run.sh --help'
message takes_nothing '%s takes no argument; see ./run.sh --help' \
    '%s não recebe argumento; veja ./run.sh --help'
message logs_one_name 'logs takes one NAME; see ./run.sh --help' \
    'logs recebe um NOME; veja ./run.sh --help'
message local_only '%s is for the local cluster; on Kubernetes use kubectl' \
    '%s é para o cluster local; no Kubernetes use kubectl'
message bad_target '"%s" is no target; there are local, k8s and compose' \
    '"%s" não é um alvo; há local, k8s e compose'
message wrong_role '%s has not the role %s; these have: %s' '%s não tem o papel %s; têm: %s'
message no_such_node 'there is no node %s' 'não há nó %s'
message bad_image '"%s" cannot be part of the name of an image' \
    '"%s" não pode fazer parte do nome de uma imagem'
message bad_minikube '--minikube takes keep, stop or delete, not "%s"' \
    '--minikube recebe keep, stop ou delete, e não "%s"'
message bad_version '"%s" is no minor version such as v1.34' \
    '"%s" não é uma versão menor como v1.34'
message yes_no_mark ' [y/N] ' ' [s/N] '

# What is missing.
message no_kubectl '%s is missing; ./setup-kubernetes-wsl.sh installs it' \
    'falta %s; ./setup-kubernetes-wsl.sh o instala'
message no_docker '%s is missing; ./setup-kubernetes-wsl.sh installs it' \
    'falta %s; ./setup-kubernetes-wsl.sh o instala'
message no_minikube '%s is missing; ./setup-kubernetes-wsl.sh installs it, or give --registry and --overlay for another cluster' \
    'falta %s; ./setup-kubernetes-wsl.sh o instala; para outro cluster dê --registry e --overlay'
message no_cargo 'there is no %s; install Rust from https://rustup.rs' \
    'não há %s; instale Rust de https://rustup.rs'
message no_binary 'there is no paxosd; ./run.sh builds it, or set PAXOSD_BIN' \
    'não há paxosd; ./run.sh o compila, ou defina PAXOSD_BIN'
message no_program 'PAXOSD_BIN is %s, and that is no program' \
    'PAXOSD_BIN é %s, e isso não é um programa'
message no_target 'no cluster was found here.
  On this machine   ./run.sh
  On Kubernetes     ./deploy-paxos-k8s.sh
  With Compose      docker compose up -d' \
    'não se achou nenhum cluster aqui.
  Nesta máquina     ./run.sh
  No Kubernetes     ./deploy-paxos-k8s.sh
  Com o Compose     docker compose up -d'
message no_namespace 'the cluster has no namespace %s, or does not answer; ./deploy-paxos-k8s.sh makes it' \
    'o cluster não tem o namespace %s, ou não responde; ./deploy-paxos-k8s.sh o cria'
message no_overlay 'there is no overlay at %s' 'não há overlay em %s'
message nobody_answers 'no node can be asked (%s): %s' 'nenhum nó pode ser consultado (%s): %s'
message node_not_there '%s is not running' '%s não está em execução'
message docker_silent 'Docker does not answer: %s
  Is it started (sudo service docker start), and are you in its group (groups)?' \
    'o Docker não responde: %s
  Ele está iniciado (sudo service docker start), e você está no grupo dele (groups)?'
message kubernetes_silent 'Kubernetes does not answer: %s' 'o Kubernetes não responde: %s'
message other_context 'kubectl speaks to "%s" and not to minikube.
  For minikube: kubectl config use-context minikube
  For another cluster: --registry and --overlay' \
    'o kubectl fala com "%s" e não com o minikube.
  Para o minikube: kubectl config use-context minikube
  Para outro cluster: --registry e --overlay'

# Targets, roles and states.
message target_local 'local cluster' 'cluster local'
message target_k8s 'Kubernetes' 'Kubernetes'
message target_compose 'Compose' 'Compose'
message role_proposer 'proposer' 'proposer'
message role_acceptor 'acceptor' 'acceptor'
message role_learner 'learner' 'learner'
message role_client 'client' 'cliente'
message state_leader 'leader' 'líder'
message state_follower 'follower' 'seguidor'
message state_electing 'electing' 'elegendo'
message state_voting 'voting' 'votando'
message state_learning 'learning' 'aprendendo'
message state_serving 'serving' 'servindo'
message state_unhealthy 'unhealthy' 'com falha'
message state_down 'down' 'parado'
message state_no_answer 'no answer' 'sem resposta'
message column_name 'NAME' 'NOME'
message column_role 'ROLE' 'PAPEL'
message column_state 'STATE' 'ESTADO'
message column_slot 'SLOT' 'SLOT'
message column_index 'INDEX' 'ÍNDICE'
message column_trimmed 'TRIMMED' 'APARADO'
message column_in_flight 'IN FLIGHT' 'EM CURSO'
message column_events 'NEWEST EVENTS' 'EVENTOS MAIS NOVOS'
message column_monitor 'MONITOR' 'MONITOR'
message headline_leader 'leader: %s (id %s)' 'líder: %s (id %s)'
message headline_no_leader 'no leader elected' 'Sistema sem líder eleito'
message headline_votes '%s of %s acceptors vote, %s needed' \
    '%s de %s acceptors votam (mín. %s)'
message headline_well '%s of %s nodes well' '%s de %s nós bem'

# Why there is no leader.
message why_quorum 'Only %s of %s acceptors vote, and %s are needed. Missing:' \
    'Só %s de %s acceptors votam, e %s são necessários. Faltam:'
message why_proposers 'No proposer is there to lead. Missing:' \
    'Não há proposer para liderar. Faltam:'
message why_missing '  %s (%s)   start it: %s' '  %s (%s)   para iniciá-lo: %s'
message why_electing 'A quorum is there, and %s proposers are holding an election.' \
    'Há quórum, e %s proposers estão numa eleição.'
message why_waiting 'A quorum is there, and an election is about to begin.' \
    'Há quórum, e uma eleição está para começar.'
message why_reason '  %s: %s' '  %s: %s'

# run.sh.
message building 'building paxosd; the first time takes a few minutes' \
    'compilando o paxosd; a primeira vez leva alguns minutos'
message not_built 'paxosd is not built yet; ./run.sh builds and starts it' \
    'o paxosd ainda não foi compilado; ./run.sh o compila e inicia'
message nothing_built 'nothing runs: paxosd is not built yet' \
    'nada está em execução: o paxosd ainda não foi compilado'
message last_lines 'the last lines of %s:' 'as últimas linhas de %s:'
message ended_early 'paxosd dev ended before it served' 'o paxosd dev terminou antes de servir'
message starting 'starting' 'iniciando'
message serving 'serving' 'servindo'
message waiting 'waiting: %s' 'aguardando: %s'
message no_leader_after 'no leader after %s s: %s' 'nenhum líder após %s s: %s'
message first_not_written 'the first value could not be written' \
    'o primeiro valor não pôde ser gravado'
message first_without_index 'the answer to the first value names no index: %s' \
    'a resposta ao primeiro valor não traz índice: %s'
message first_not_read 'the first value could not be read' 'o primeiro valor não pôde ser lido'
message first_differs 'at index %s stands %s instead of the first value' \
    'no índice %s está %s em vez do primeiro valor'
message first_written 'wrote the first value: %s' 'primeiro valor gravado: %s'
message first_read 'read it back: %s' 'lido de volta: %s'
message runs_already 'the cluster runs already' 'o cluster já está em execução'
message interrupted 'interrupted' 'interrompido'
message none_runs 'no cluster runs on %s; ./run.sh starts one' \
    'nenhum cluster em execução em %s; ./run.sh inicia um'
message no_file 'there is no %s' 'não há %s'
message local_next 'The cluster runs in the background; data and logs are in %s
  write  %s
  read   %s
  menu   ./paxos-client.sh
  watch  ./monitor.sh
  break  ./run.sh kill NAME, then ./run.sh status, then ./run.sh start NAME
  stop   ./run.sh stop' \
    'O cluster está em segundo plano; dados e logs estão em %s
  gravar     %s
  ler        %s
  menu       ./paxos-client.sh
  observar   ./monitor.sh
  quebrar    ./run.sh kill NOME, depois ./run.sh status, depois ./run.sh start NOME
  parar      ./run.sh stop'
message namespace_found 'the namespace %s is there, so this is about Kubernetes (else: --local)' \
    'o namespace %s existe, então trata-se do Kubernetes (senão: --local)'
message pods_wait 'waiting up to %s s for the pods' 'aguardando os pods por até %s s'
message waiting_leader 'waiting for a leader: %s acceptors vote, %s are needed' \
    'aguardando um líder: %s acceptors votam, %s são necessários'
message leader_is 'leader: %s (id %s)' 'líder: %s (id %s)'
message no_leader_in_time 'there is no leader; the nodes elect one by themselves as soon as they can' \
    'não há líder; os nós elegem um por si mesmos assim que puderem'
message urls_title 'URLs:' 'URLs:'
message k8s_next '
Next:
  ./paxos-client.sh     write and read
  ./monitor.sh          watch
  kubectl port-forward -n %s service/client1 6001:6001
                        where the URLs above cannot be reached' \
    '
A seguir:
  ./paxos-client.sh     gravar e ler
  ./monitor.sh          observar
  kubectl port-forward -n %s service/client1 6001:6001
                        se as URLs acima não puderem ser alcançadas'
message pod_ready 'ready' 'pronto'
message pod_scaled_down 'scaled down to 0' 'reduzido a 0'
message pod_none 'no pod yet' 'ainda sem pod'
message pods_not_ready 'not all pods are ready' 'nem todos os pods estão prontos'
message pod_trouble '  %s: %s
    why: kubectl describe pod -l app=%s -n %s' \
    '  %s: %s
    por quê: kubectl describe pod -l app=%s -n %s'
message pods_events '  all events: kubectl get events -n %s --sort-by=.lastTimestamp' \
    '  todos os eventos: kubectl get events -n %s --sort-by=.lastTimestamp'

# deploy-paxos-k8s.sh.
message step_check 'Checking what is needed' 'Verificando os pré-requisitos'
message step_build 'Building the image' 'Construindo a imagem'
message step_apply 'Applying the manifests' 'Aplicando os manifestos'
message step_wait 'Waiting for the pods, up to %s s' 'Aguardando os pods, por até %s s'
message minikube_runs 'Minikube is running' 'o Minikube está em execução'
message minikube_starts 'Minikube is not running; starting it' \
    'o Minikube não está em execução; iniciando'
message no_ingress 'the ingress addon could not be enabled; everything else works without it' \
    'o addon ingress não pôde ser habilitado; todo o resto funciona sem ele'
message no_registry 'without --registry the machines of the cluster must have %s already' \
    'sem --registry as máquinas do cluster já precisam ter %s'
message building_image 'building %s; the first time takes several minutes' \
    'construindo %s; a primeira vez leva vários minutos'
message pushing 'pushing %s' 'enviando %s'
message loading_image 'this Minikube has no Docker inside; loading the image into it' \
    'este Minikube não tem Docker dentro; carregando a imagem nele'
message not_rendered '%s cannot be rendered by kubectl kustomize' \
    '%s não pode ser gerado pelo kubectl kustomize'
message image_not_found 'no container in %s uses an image called paxos-node' \
    'nenhum contêiner em %s usa uma imagem chamada paxos-node'
message renewing 'Bringing the nodes that run up to date, one by one' \
    'Atualizando os nós que estão rodando, um a um'
message renew_stopped '%s did not come back; the others were left as they are
  to go back: kubectl rollout undo -n %s deployment/%s
  to go on:   mend what is wrong and run this again' \
    '%s não voltou; os outros ficaram como estão
  para voltar:   kubectl rollout undo -n %s deployment/%s
  para seguir:   corrija o que está errado e execute de novo'
message others_left 'the nodes that are ready were left as they are: with others away, each of
them may be needed. Mend what is wrong and run this again, or stop them all with --at-once' \
    'os nós prontos ficaram como estão: com outros fora, cada um deles pode ser necessário.
Corrija o que está errado e execute de novo, ou pare todos com --at-once'
message deploy_next '
Next:
  ./run.sh              is there a leader, is everybody well
  ./paxos-client.sh     write and read
  ./monitor.sh          watch' \
    '
A seguir:
  ./run.sh              há líder, estão todos bem
  ./paxos-client.sh     gravar e ler
  ./monitor.sh          observar'

# cleanup-paxos-k8s.sh.
message ask_remove 'Remove the namespace %s from the cluster "%s"?' \
    'Remover o namespace %s do cluster "%s"?'
message removing 'removing what is in %s' 'removendo o que há em %s'
message volumes_are_data 'These volumes are the data: every value ever written is in them and nowhere else.' \
    'Estes volumes são os dados: todo valor já gravado está neles e em nenhum outro lugar.'
message ask_volumes 'Delete them? They cannot be brought back.' \
    'Apagá-los? Não há como recuperá-los.'
message volumes_kept 'the volumes stay, and the namespace %s with them; ./deploy-paxos-k8s.sh finds them again' \
    'os volumes ficam, e com eles o namespace %s; ./deploy-paxos-k8s.sh os reencontra'
message all_gone 'all of it is gone' 'tudo foi removido'
message nothing_there 'there is no namespace %s; nothing to remove' \
    'não há namespace %s; nada a remover'
message nothing_removed 'nothing was removed' 'nada foi removido'
message kubernetes_away 'Kubernetes does not answer; nothing was removed' \
    'o Kubernetes não responde; nada foi removido'
message minikube_stopped 'Minikube is not running' 'o Minikube não está em execução'
message ask_stop 'Stop Minikube?' 'Parar o Minikube?'
message ask_delete 'Delete Minikube, with everything in it?' 'Excluir o Minikube, com tudo dentro?'

# setup-kubernetes-wsl.sh.
message linux_only 'this is %s; run it on Ubuntu, for example in WSL' \
    'isto é %s; execute no Ubuntu, por exemplo no WSL'
message apt_only 'this script installs with apt, as on Ubuntu; see README.md for what to install by hand' \
    'este script instala com apt, como no Ubuntu; veja no README.pt-BR.md o que instalar à mão'
message no_sudo 'this needs sudo, or to be run as root' \
    'é preciso o sudo, ou executar como root'
message bad_architecture 'there is no Minikube for %s' 'não há Minikube para %s'
message is_wsl 'this is Ubuntu in WSL' 'este é um Ubuntu no WSL'
message is_no_wsl 'this is Linux without WSL' 'este é um Linux sem WSL'
message is_there '%s is there: %s' '%s já existe: %s'
message installs 'installing %s' 'instalando %s'
message joins_group '%s joins the group docker, to use Docker without sudo' \
    '%s entra no grupo docker, para usar o Docker sem sudo'
message wsl_systemd 'switching on systemd in %s, so that Docker starts by itself' \
    'ligando o systemd em %s, para que o Docker inicie sozinho'
message wsl_by_hand 'write systemd=true below [boot] in %s, so that Docker starts by itself' \
    'escreva systemd=true abaixo de [boot] em %s, para que o Docker inicie sozinho'
message docker_later 'Docker could not be started now' 'o Docker não pôde ser iniciado agora'
message bad_checksum '%s is not what its checksum says; nothing was installed' \
    '%s não confere com a soma de verificação; nada foi instalado'
message was_dry 'This was --dry-run: nothing was changed.' 'Isto foi --dry-run: nada foi alterado.'
message restart_wsl 'Restart WSL now, so that all of this takes effect. In PowerShell on Windows:
  wsl --shutdown
and open the terminal again.' \
    'Reinicie o WSL agora, para que tudo isto tenha efeito. No PowerShell do Windows:
  wsl --shutdown
e reabra o terminal.'
message restart_session 'Log out and in again, so that the group takes effect.' \
    'Saia da sessão e entre de novo, para que o grupo tenha efeito.'
message setup_next '
Next:
  minikube start --driver=docker
  ./deploy-paxos-k8s.sh' \
    '
A seguir:
  minikube start --driver=docker
  ./deploy-paxos-k8s.sh'

# paxos-client.sh.
message no_client 'the configuration lists no client' 'a configuração não lista nenhum cliente'
message no_proposer 'the configuration lists no proposer' \
    'a configuração não lista nenhum proposer'
message client_title 'Paxos: interactive client (%s)' 'Paxos: cliente interativo (%s)'
message menu '  1  Choose a client (now %s)
  2  Send a value
  3  Read values
  4  See responses
  5  Client status
  6  Leader status
  7  Send straight to a proposer
  8  System status
  q  Quit
' \
    '  1  Selecionar cliente (agora %s)
  2  Enviar valor
  3  Ler valores
  4  Visualizar respostas
  5  Ver status do cliente
  6  Ver status do líder
  7  Enviar diretamente para Proposer
  8  Ver status do sistema
  q  Sair
'
message choice_prompt 'Choice: ' 'Opção: '
message enter_prompt 'Enter goes back to the menu. ' 'Enter volta ao menu. '
message no_such_choice '"%s" is not on the list' '"%s" não está na lista'
message which 'Which one, by number or name (Enter: %s)? ' \
    'Qual, por número ou nome (Enter: %s)? '
message client_chosen 'values go through %s now' 'os valores agora passam por %s'
message value_prompt 'Value for %s (an empty line sends nothing): ' \
    'Valor para %s (linha vazia não envia nada): '
message nothing_sent 'nothing was sent' 'nada foi enviado'
message written 'written through %s: index %s, slot %s
  request %s' \
    'gravado por %s: índice %s, slot %s
  requisição %s'
message not_written '%s could not have it written; nothing was changed. Try again later.' \
    '%s não conseguiu gravar; nada foi alterado. Tente mais tarde.'
message refused '%s refused it; nothing was changed.' '%s recusou; nada foi alterado.'
message doubtful 'Through %s: it is not known whether it was written.' \
    'Por %s: não se sabe se foi gravado.'
message ask_again 'Send it again under the same key? It is then written once, whatever happened.' \
    'Enviar de novo com a mesma chave? Será gravado uma só vez, aconteça o que acontecer.'
message doubtful_key 'To send it again safely: ./paxos-client.sh --key %s write VALUE' \
    'Para enviar de novo com segurança: ./paxos-client.sh --key %s write VALOR'
message not_asked '%s could not be asked.' '%s não pôde ser consultado.'
message not_read '%s could not read.' '%s não conseguiu ler.'
message no_values 'no value was written yet' 'nenhum valor foi gravado ainda'
message newest_values 'The newest values (up to %s), by their index, read through %s:' \
    'Os valores mais novos (até %s), por índice, lidos por %s:'
message letters '%s letters' '%s letras'
message no_responses '%s has heard of no value yet' '%s ainda não soube de nenhum valor'
message newest_responses 'The newest responses (up to %s) to %s:' \
    'As respostas mais novas (até %s) a %s:'
message response '%s  %s  learned %s by node %s' '%s  %s  aprendido %s pelo nó %s'
message node_status '%s: %s, %s' '%s: %s, %s'
message opening 'opening %s' 'abrindo %s'
message no_browser 'no browser was found; open %s yourself' \
    'nenhum navegador foi encontrado; abra %s você mesmo'

# monitor.sh.
message monitor_title 'Paxos monitor (%s)' 'Monitor do Paxos (%s)'
message every 'every %s s' 'a cada %s s'
message section_proposer 'PROPOSERS' 'PROPOSERS'
message section_acceptor 'ACCEPTORS' 'ACCEPTORS'
message section_learner 'LEARNERS' 'LEARNERS'
message section_client 'CLIENTS' 'CLIENTES'
message more_lines '%s more lines; make the window taller' 'mais %s linhas; aumente a janela'
message monitor_keys 'q or Ctrl-C ends, r looks now' 'q ou Ctrl-C encerra, r atualiza já'

# What --help prints.
message help_run 'Usage: ./run.sh [--local | --k8s] [--timeout S] [COMMAND]

  (none)        build, start the cluster in the background, wait until it serves,
                write and read a first value, show URLs and leader; where the
                namespace paxos is there, the same as --k8s
  status        show all nodes, who leads and how far they are
  stop          stop the cluster; its data stays and is there at the next start
  kill NAME     kill one node on the spot, as kill -9 does
  start NAME    start it again with its data
  logs [NAME]   the last lines of a node'\''s log; without NAME, of the cluster'\''s

Options:
  --k8s         Kubernetes: wait until the pods are ready and a leader is there, show
                the health of all nodes and the URLs. Nothing is written.
  --local       this machine, also where the namespace is there
  --timeout S   how long --k8s waits, in seconds; default 180

Environment:
  PAXOSD_BIN     a paxosd to use instead of building one
  PAXOSD_DATA    the directory of everything that the cluster keeps; default ./data
  PAXOSD_CONFIG  the configuration; default config/cluster.yaml

Example: watch a leader fall and another rise.
  ./run.sh && ./run.sh kill proposer1; ./run.sh status; ./run.sh start proposer1

Exit codes are those of paxosd --help: 0 means done, 3 that there is no leader or no
quorum; --k8s ends with 1 when there is a leader but not all pods are ready.' \
    'Uso: ./run.sh [--local | --k8s] [--timeout S] [COMANDO]

  (nenhum)      compila, inicia o cluster em segundo plano, espera até que sirva,
                grava e lê um primeiro valor, mostra URLs e líder; onde o namespace
                paxos existe, o mesmo que --k8s
  status        mostra todos os nós, quem lidera e até onde estão
  stop          para o cluster; os dados ficam e estarão lá no próximo início
  kill NOME     mata um nó na hora, como faz kill -9
  start NOME    inicia-o de novo com os dados dele
  logs [NOME]   as últimas linhas do log de um nó; sem NOME, do cluster

Opções:
  --k8s         Kubernetes: espera até os pods estarem prontos e haver um líder, mostra
                a saúde de todos os nós e as URLs. Nada é gravado.
  --local       esta máquina, mesmo onde o namespace existe
  --timeout S   quanto --k8s espera, em segundos; padrão 180

Ambiente:
  PAXOSD_BIN     um paxosd a usar em vez de compilar um
  PAXOSD_DATA    o diretório de tudo o que o cluster guarda; padrão ./data
  PAXOSD_CONFIG  a configuração; padrão config/cluster.yaml

Exemplo: ver um líder cair e outro surgir.
  ./run.sh && ./run.sh kill proposer1; ./run.sh status; ./run.sh start proposer1

Os códigos de saída são os de paxosd --help: 0 é feito, 3 é sem líder ou sem quórum;
--k8s termina com 1 quando há líder mas nem todos os pods estão prontos.'
message help_deploy 'Usage: ./deploy-paxos-k8s.sh [OPTION]...

Builds the image, applies k8s/, waits until the pods are ready. Run it again after a
change: nodes that are ready are brought up to date one by one, after all others.

  --image NAME      name of the image; default paxos-node
  --tag TAG         its tag; default latest
  --registry HOST   push it there, as HOST/NAME:TAG; without it, the image is built
                    inside Minikube, which is started when it does not run
  --overlay NAME    k8s/overlays/NAME, or a directory; default minikube
  --timeout S       how long to wait for a node, and at the end for all, in seconds;
                    default 180
  --at-once         all nodes at the same time: quicker, and nobody is served meanwhile
  -h, --help        this text

Examples:
  ./deploy-paxos-k8s.sh
  ./deploy-paxos-k8s.sh --registry registry.example.com/team --tag 0.1.0 --overlay production

Needs docker and kubectl, and minikube unless --registry is given.' \
    'Uso: ./deploy-paxos-k8s.sh [OPÇÃO]...

Constrói a imagem, aplica k8s/ e espera até os pods estarem prontos. Execute de novo após
uma mudança: os nós prontos são atualizados um a um, depois de todos os outros.

  --image NOME      nome da imagem; padrão paxos-node
  --tag TAG         a tag; padrão latest
  --registry HOST   envia para lá, como HOST/NOME:TAG; sem isso, a imagem é construída
                    dentro do Minikube, que é iniciado se não estiver em execução
  --overlay NOME    k8s/overlays/NOME, ou um diretório; padrão minikube
  --timeout S       quanto esperar por um nó, e no fim por todos, em segundos; padrão 180
  --at-once         todos os nós ao mesmo tempo: mais rápido, e ninguém é atendido enquanto isso
  -h, --help        este texto

Exemplos:
  ./deploy-paxos-k8s.sh
  ./deploy-paxos-k8s.sh --registry registry.example.com/team --tag 0.1.0 --overlay production

Precisa de docker e kubectl, e de minikube se não houver --registry.'
message help_cleanup 'Usage: ./cleanup-paxos-k8s.sh [OPTION]...

Removes paxosd from Kubernetes in reverse order. Asks first, asks again before it deletes
the volumes, which are the data, and then whether to stop and to delete Minikube.

  -y, --yes           do not ask: remove all, volumes too; Minikube is left alone
  --keep-data         keep the volumes, and the namespace that they are in
  --minikube WHAT     keep, stop or delete Minikube, without asking
  -h, --help          this text

Example:
  ./cleanup-paxos-k8s.sh --yes --keep-data' \
    'Uso: ./cleanup-paxos-k8s.sh [OPÇÃO]...

Remove o paxosd do Kubernetes em ordem inversa. Pergunta antes, pergunta de novo antes de
apagar os volumes, que são os dados, e depois se deve parar e excluir o Minikube.

  -y, --yes           não pergunta: remove tudo, os volumes também; o Minikube fica
  --keep-data         mantém os volumes, e o namespace em que estão
  --minikube O_QUÊ    keep, stop ou delete: mantém, para ou exclui o Minikube, sem perguntar
  -h, --help          este texto

Exemplo:
  ./cleanup-paxos-k8s.sh --yes --keep-data'
message help_setup 'Usage: ./setup-kubernetes-wsl.sh [OPTION]...

Installs Docker, kubectl and Minikube on Ubuntu, in WSL or by itself, puts you into the
group docker, and says whether WSL has to be restarted. What is there is left as it is.

  --dry-run              print the commands and run none of them
  --kubectl-version V    minor version of kubectl; default v1.34
  -h, --help             this text

Example: what would it do?
  ./setup-kubernetes-wsl.sh --dry-run' \
    'Uso: ./setup-kubernetes-wsl.sh [OPÇÃO]...

Instala Docker, kubectl e Minikube no Ubuntu, no WSL ou não, põe você no grupo docker e
diz se o WSL precisa ser reiniciado. O que já existe fica como está.

  --dry-run              imprime os comandos e não executa nenhum
  --kubectl-version V    versão menor do kubectl; padrão v1.34
  -h, --help             este texto

Exemplo: o que ele faria?
  ./setup-kubernetes-wsl.sh --dry-run'
message help_client 'Usage: ./paxos-client.sh [OPTION]... [VERB]

Without a verb, a menu. Verbs:
  write VALUE           write through a client; VALUE arrives whole, whatever is in it
  direct-write VALUE    write through a proposer, without a client
  read [--from N] [--limit N] [--stale]
                        values in order, each with its index
  responses             what the client was told of
  status [NAME]         all nodes, or what one says of itself
  open                  URLs; opens the client'\''s state in a browser where there is one
  help                  this text

Options:
  -c, --client NAME     the client to use; without it, one that is well
  -p, --proposer NAME   the proposer of direct-write; without it, the leader
  --key KEY             the same value under the same key is written once, however often
  --target WHERE        local, k8s or compose; without it, PAXOS_TARGET, else what is there:
                        a running ./run.sh, the namespace paxos, or containers of Compose
  -h, --help            this text

Example:
  ./paxos-client.sh write '\''"quotes", spaces and ✓'\''

Exit codes: 0 done, 1 error, 2 usage, 3 unavailable (nothing was changed), 4 refused,
5 unknown (it may have been written; sending it again with the same --key is safe).' \
    'Uso: ./paxos-client.sh [OPÇÃO]... [VERBO]

Sem verbo, um menu. Verbos:
  write VALOR           grava por um cliente; VALOR chega inteiro, tenha o que tiver
  direct-write VALOR    grava por um proposer, sem cliente
  read [--from N] [--limit N] [--stale]
                        valores em ordem, cada um com seu índice
  responses             do que o cliente foi avisado
  status [NOME]         todos os nós, ou o que um diz de si
  open                  URLs; abre o estado do cliente num navegador, se houver
  help                  este texto

Opções:
  -c, --client NOME     o cliente a usar; sem isso, um que esteja bem
  -p, --proposer NOME   o proposer de direct-write; sem isso, o líder
  --key CHAVE           o mesmo valor com a mesma chave é gravado uma só vez
  --target ONDE         local, k8s ou compose; sem isso, PAXOS_TARGET, senão o que houver:
                        um ./run.sh em execução, o namespace paxos ou contêineres do Compose
  -h, --help            este texto

Exemplo:
  ./paxos-client.sh write '\''"aspas", espaços e ✓'\''

Códigos de saída: 0 feito, 1 erro, 2 uso, 3 indisponível (nada foi alterado), 4 recusado,
5 desconhecido (pode ter sido gravado; enviar de novo com a mesma --key é seguro).'
message help_monitor 'Usage: ./monitor.sh [OPTION]...

Watches all nodes: who leads, how each one is, and what each did last.

  -p, --proposers       only these roles; they combine
  -a, --acceptors
  -l, --learners
  -c, --clients
  -i, --interval N      seconds between two looks; default 3
  -n, --no-follow       look once, print it, and end
  -v, --verbose         all that a node says of itself
  -k, --kubectl-logs    the last lines of what each node prints (kubectl logs; locally its
                        log file, with Compose docker logs)
  --target WHERE        local, k8s or compose; without it, PAXOS_TARGET, else what is there
  -h, --help            this text

Examples:
  ./monitor.sh --proposers --interval 5
  ./monitor.sh --acceptors --learners --no-follow
  ./monitor.sh --verbose --kubectl-logs

On a terminal q or Ctrl-C ends it; elsewhere each look is a block of lines. Times are UTC.' \
    'Uso: ./monitor.sh [OPÇÃO]...

Observa todos os nós: quem lidera, como está cada um e o que cada um fez por último.

  -p, --proposers       só estes papéis; combinam-se
  -a, --acceptors
  -l, --learners
  -c, --clients
  -i, --interval N      segundos entre duas consultas; padrão 3
  -n, --no-follow       consulta uma vez, imprime e termina
  -v, --verbose         tudo o que um nó diz de si
  -k, --kubectl-logs    as últimas linhas que cada nó imprimiu (kubectl logs; localmente o
                        arquivo de log, com o Compose docker logs)
  --target ONDE         local, k8s ou compose; sem isso, PAXOS_TARGET, senão o que houver
  -h, --help            este texto

Exemplos:
  ./monitor.sh --proposers --interval 5
  ./monitor.sh --acceptors --learners --no-follow
  ./monitor.sh --verbose --kubectl-logs

Num terminal q ou Ctrl-C encerra; fora dele cada consulta é um bloco de linhas. Horas em UTC.'
