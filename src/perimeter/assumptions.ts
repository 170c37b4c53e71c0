export interface Assumption {
  id: string
  text: string
}

/** What every proof takes for granted, and prints. `docs/guide/proof.md` says more about each. */
export const assumptions: readonly Assumption[] = [
  { id: 'A1', text: "A pod's own node is always let in: the kubelet, and hostNetwork pods there." },
  { id: 'A2', text: 'hostNetwork pods are nodes, not pods: policies do not see them.' },
  {
    id: 'A3',
    text: 'Protected Services are ClusterIP or headless: with NodePort, LoadBalancer or externalIPs connections may arrive from the address of a node.'
  },
  { id: 'A4', text: "Nobody else can create pods with the gateway's labels in its namespace." },
  { id: 'A5', text: 'Nobody adds policies to the protected namespaces after this proof.' },
  {
    id: 'A6',
    text: 'Nobody relabels namespaces that a policy picks by a label of their own (kubernetes.io/metadata.name is safe).'
  },
  {
    id: 'A7',
    text: "kubectl port-forward, exec and the API server's proxy are a matter of RBAC, not of policy."
  },
  {
    id: 'A8',
    text: 'The network plugin (CNI) enforces NetworkPolicy, from the start of a pod. ICMP and ARP are undefined.'
  },
  {
    id: 'A9',
    text: "Nobody else can edit the upstreams' EndpointSlices: they could redirect the gateway itself."
  }
]
