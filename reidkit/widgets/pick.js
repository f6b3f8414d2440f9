var f=this.closest('.reidkit-app').querySelector('.reidkit-NAME input');f.value=VALUE;f.dispatchEvent(new Event('change',{bubbles:true}))
